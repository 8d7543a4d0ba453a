//! What is dialled, in which order and when.

use super::*;

#[test]
fn families_take_turns_and_a_slow_attempt_holds_nobody_up_for_long() {
    let (mut dialling, start) = resolved(&[&["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1"]]);

    let dialled = run(&mut dialling, start, ATTEMPT_DELAY * 3);

    let expected = ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"];
    let paced = (0..).zip(expected);
    let expected: Vec<_> = paced
        .map(|(n, text)| (ATTEMPT_DELAY * n, address(text)))
        .collect();
    assert_eq!(dialled, expected);
}

#[test]
fn an_attempt_that_fails_makes_way_at_once() {
    let (mut dialling, start) = resolved(&[&["192.0.2.1:1"], &["192.0.2.2:1"]]);
    assert_eq!(run(&mut dialling, start, Duration::ZERO).len(), 1);

    let soon = start + Duration::from_millis(1);
    dialling.handle_ended(address("192.0.2.1:1"), Outcome::Failed, soon);

    // The names may have changed meanwhile.
    answer(&mut dialling, &[&["192.0.2.1:1"], &["192.0.2.2:1"]], soon);
    let dialled = run(&mut dialling, soon, Duration::ZERO);
    assert_eq!(dialled, [(Duration::ZERO, address("192.0.2.2:1"))]);
}

#[test]
fn an_absence_lasts_from_the_first_attempt_or_the_sessions_end_until_the_next_session() {
    let (mut dialling, start) = resolved(&[&["192.0.2.1:1"]]);
    let place = address("192.0.2.1:1");
    assert_eq!(dialling.absent_since(place), None);

    run(&mut dialling, start, Duration::ZERO);
    dialling.handle_ended(place, Outcome::Failed, start + MAX);
    assert_eq!(dialling.absent_since(place), Some(start));

    answer(&mut dialling, &[&["192.0.2.1:1"]], start + MAX);
    run(&mut dialling, start + MAX, MAX);
    dialling.handle_up(place);
    assert_eq!(dialling.absent_since(place), None);

    let lost = start + MAX * 3;
    dialling.handle_ended(place, Outcome::WasUp(start), lost);
    assert_eq!(dialling.absent_since(place), Some(lost));
}

#[test]
fn a_name_that_leads_elsewhere_is_followed_and_its_old_address_left() {
    let (mut dialling, start) = resolved(&[&["192.0.2.1:1"]]);
    run(&mut dialling, start, Duration::ZERO);
    dialling.handle_ended(address("192.0.2.1:1"), Outcome::Failed, start);

    let later = start + MAX;
    answer(&mut dialling, &[&["192.0.2.9:1"]], later);

    let dialled = run(&mut dialling, later, ATTEMPT_DELAY);
    assert_eq!(dialled, [(Duration::ZERO, address("192.0.2.9:1"))]);
}

#[test]
fn an_address_stays_when_its_name_is_not_found_any_more() {
    let (mut dialling, start) = resolved(&[&["192.0.2.1:1"]]);
    run(&mut dialling, start, Duration::ZERO);
    dialling.handle_ended(address("192.0.2.1:1"), Outcome::Failed, start);

    let later = start + MAX;
    dialling.handle_timeout(later);
    assert_eq!(dialling.poll_output(), Some(Output::Resolve(0)));
    dialling.handle_resolved(0, None, later);

    let dialled = run(&mut dialling, later, Duration::ZERO);
    assert_eq!(dialled, [(Duration::ZERO, address("192.0.2.1:1"))]);
}

#[test]
fn a_name_that_is_not_found_is_looked_for_again() {
    let start = Instant::now();
    let mut dialling = new(1, start);
    dialling.handle_timeout(start);
    assert_eq!(dialling.poll_output(), Some(Output::Resolve(0)));
    dialling.handle_resolved(0, None, start);

    let again = dialling.poll_timeout().expect("another search");
    assert!(again > start && again <= start + MAX);
    dialling.handle_timeout(again);
    assert_eq!(dialling.poll_output(), Some(Output::Resolve(0)));
}

#[test]
fn a_slow_name_does_not_hold_up_an_address() {
    let start = Instant::now();
    let mut dialling = new(2, start);
    dialling.handle_timeout(start);

    dialling.handle_resolved(1, Some(vec![address("192.0.2.2:1")]), start);
    dialling.handle_timeout(start);

    let outputs: Vec<_> = std::iter::from_fn(|| dialling.poll_output()).collect();
    assert!(
        outputs.contains(&Output::Dial(address("192.0.2.2:1"))),
        "{outputs:?}"
    );
}

#[test]
fn a_redundant_address_waits_until_a_session_ends() {
    let both: &[&[&str]] = &[&["192.0.2.1:1", "192.0.2.2:1"]];
    let (mut dialling, start) = resolved(both);
    run(&mut dialling, start, ATTEMPT_DELAY);
    let now = start + ATTEMPT_DELAY;
    dialling.handle_up(address("192.0.2.1:1"));
    dialling.handle_up(address("192.0.2.2:1"));
    dialling.handle_ended(address("192.0.2.2:1"), Outcome::Redundant, now);
    let soon = now + Duration::from_secs(5);
    assert!(dialling.poll_timeout().is_some_and(|at| at > soon));

    let later = now + Duration::from_secs(5);
    dialling.handle_ended(address("192.0.2.1:1"), Outcome::WasUp(now), later);

    answer(&mut dialling, both, later);
    let dialled = run(&mut dialling, later, Duration::ZERO);
    assert_eq!(dialled, [(Duration::ZERO, address("192.0.2.2:1"))]);
}

#[test]
fn no_more_is_dialled_once_as_many_replicas_are_held_as_may_be() {
    let all = [
        "192.0.2.1:1",
        "192.0.2.2:1",
        "192.0.2.3:1",
        "192.0.2.4:1",
        "192.0.2.5:1",
    ];
    let (mut dialling, start) = resolved(&[&all]);
    let mut now = start;
    for text in all.iter().take(MAX_REPLICAS) {
        let dialled = run(&mut dialling, now, Duration::ZERO);
        assert_eq!(dialled, [(Duration::ZERO, address(text))]);
        dialling.handle_up(address(text));
        now += ATTEMPT_DELAY;
    }

    assert_eq!(dialling.poll_timeout(), None);
    dialling.handle_timeout(now + MAX);
    assert_eq!(dialling.poll_output(), None);
}

const MAX: Duration = Duration::from_secs(2);

fn new(places: usize, start: Instant) -> Dialling {
    Dialling::new(
        places,
        Backoff::new(Duration::from_millis(50), MAX, 1),
        start,
    )
}

/// A dialling that knows the addresses of its places.
fn resolved(places: &[&[&str]]) -> (Dialling, Instant) {
    let start = Instant::now();
    let mut dialling = new(places.len(), start);
    answer(&mut dialling, places, start);
    (dialling, start)
}

/// It looks for the addresses of its places, and finds these.
fn answer(dialling: &mut Dialling, places: &[&[&str]], now: Instant) {
    dialling.handle_timeout(now);
    for (place, texts) in places.iter().enumerate() {
        assert_eq!(dialling.poll_output(), Some(Output::Resolve(place)));
        let found = texts.iter().map(|text| address(text)).collect();
        dialling.handle_resolved(place, Some(found), now);
    }
}

/// What is dialled within a time, and after how long.
fn run(dialling: &mut Dialling, start: Instant, time: Duration) -> Vec<(Duration, SocketAddr)> {
    let mut dialled = Vec::new();
    while let Some(now) = dialling.poll_timeout().filter(|at| *at <= start + time) {
        let now = now.max(start);
        dialling.handle_timeout(now);
        while let Some(output) = dialling.poll_output() {
            match output {
                Output::Dial(address) => dialled.push((now - start, address)),
                Output::Resolve(place) => panic!("place {place} is looked for again"),
            }
        }
    }
    dialled
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
