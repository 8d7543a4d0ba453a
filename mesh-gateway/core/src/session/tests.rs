//! What one session does with a hostile, confused or later peer; pairs of sessions are in `tests/pair.rs`.

mod opening;
mod subscription;

use std::time::{Duration, Instant};

use cluster_registry::store::{Batch, Epoch, Page, Revision};

use super::*;
use crate::{
    instance::{Incarnation, InstanceId},
    resume::Resume,
};

#[test]
fn a_session_is_up_only_after_both_hellos_were_accepted() {
    let now = Instant::now();
    let mut session = session(None, now);
    assert!(matches!(
        session.poll_output(),
        Some(Output::Send(Channel::Control, Body::Hello(_)))
    ));

    control(&mut session, hello(), now);
    assert!(!session.is_up());
    control(&mut session, welcome(false), now);

    assert!(session.is_up());
}

#[test]
fn a_required_feature_that_is_unknown_ends_the_session_with_its_name() {
    let now = Instant::now();
    let mut session = session(None, now);
    let demanding = wire::Hello {
        required_features: vec!["teleport\n".to_owned()],
        ..hello_message()
    };

    control(&mut session, Body::Hello(demanding), now);

    let outputs = drain(&mut session);
    assert!(outputs.contains(&Output::Close(GoodbyeReason::UnsupportedFeature)));
    assert_eq!(
        outputs.last(),
        Some(&Output::Down(DownReason::UnsupportedFeature(
            "teleport\\n".to_owned()
        )))
    );
}

#[test]
fn an_optional_feature_and_a_body_of_a_later_version_are_ignored() {
    let now = Instant::now();
    let mut session = session(None, now);
    let modern = wire::Hello {
        optional_features: vec!["teleport".to_owned()],
        ..hello_message()
    };

    session.handle_frame(Channel::Control, Frame { body: None }, now);
    control(&mut session, Body::Hello(modern), now);

    assert!(!session.is_closed());
}

#[test]
fn every_message_out_of_place_ends_the_session() {
    let subscribed = || Body::Subscribed(wire::Subscribed { resumed: false });
    let interval = |heartbeat_interval_ms| {
        Body::Hello(wire::Hello {
            heartbeat_interval_ms,
            ..hello_message()
        })
    };
    let before_hello: [(Channel, Body, Violation); 7] = [
        (Channel::Control, welcome(false), Violation::HelloMissing),
        (Channel::Control, heartbeat(1), Violation::HelloMissing),
        (Channel::Control, interval(9), Violation::BadHello),
        (Channel::Control, interval(10_001), Violation::BadHello),
        (
            Channel::Control,
            subscribe(),
            Violation::UnexpectedSubscription,
        ),
        (Channel::Bulk, hello(), Violation::EarlyState),
        (Channel::Bulk, begin(), Violation::EarlyState),
    ];
    for (channel, body, violation) in before_hello {
        let now = Instant::now();
        let mut session = session(None, now);
        session.handle_frame(channel, Frame { body: Some(body) }, now);
        assert_violation(&mut session, violation);
    }
    let when_up = [
        (Channel::Control, hello(), Violation::SecondHello),
        (
            Channel::Control,
            welcome(false),
            Violation::UnexpectedWelcome,
        ),
        (Channel::Control, begin(), Violation::WrongChannel),
        (Channel::Bulk, heartbeat(1), Violation::WrongChannel),
        (
            Channel::Control,
            subscribe(),
            Violation::UnexpectedSubscription,
        ),
        (
            Channel::Control,
            subscribed(),
            Violation::UnexpectedSubscription,
        ),
        (Channel::Bulk, updates(), Violation::NothingToUpdate),
        (Channel::Bulk, end(), Violation::SnapshotNotBegun),
        (
            Channel::Bulk,
            progress(Some(1)),
            Violation::MisplacedProgress,
        ),
    ];
    for (channel, body, violation) in when_up {
        let now = Instant::now();
        let mut session = up(now);
        session.handle_frame(channel, Frame { body: Some(body) }, now);
        assert_violation(&mut session, violation);
    }
}

#[test]
fn half_a_snapshot_has_no_position() {
    let now = Instant::now();
    let mut session = up(now);

    state(&mut session, begin(), now);
    state(&mut session, progress(Some(1)), now);

    assert_violation(&mut session, Violation::MisplacedProgress);
}

#[test]
fn progress_without_a_position_is_a_violation() {
    let now = Instant::now();
    let mut session = up(now);
    state(&mut session, begin(), now);
    state(&mut session, end(), now);

    state(&mut session, progress(None), now);

    assert_violation(&mut session, Violation::MisplacedProgress);
}

#[test]
fn a_resumption_that_was_not_offered_is_a_violation() {
    let now = Instant::now();
    let mut session = session(None, now);
    control(&mut session, hello(), now);

    control(&mut session, welcome(true), now);

    assert_violation(&mut session, Violation::UnexpectedWelcome);
}

#[test]
fn a_peer_that_never_says_hello_is_given_up() {
    let now = Instant::now();
    let mut session = session(None, now);

    let ended = run_to_the_end(&mut session, now);

    assert_eq!(ended, (now + OPENING_TIMEOUT, DownReason::Timeout));
}

#[test]
fn a_peer_that_falls_silent_is_down_after_three_intervals() {
    let now = Instant::now();
    let mut session = up(now);

    let ended = run_to_the_end(&mut session, now);

    assert_eq!(ended, (now + INTERVAL * 3, DownReason::Silent));
}

#[test]
fn a_peer_with_slower_heartbeats_is_given_more_time() {
    let now = Instant::now();
    let mut session = session(None, now);
    let slow = wire::Hello {
        heartbeat_interval_ms: 1000,
        ..hello_message()
    };
    control(&mut session, Body::Hello(slow), now);
    control(&mut session, welcome(false), now);

    let ended = run_to_the_end(&mut session, now);

    assert_eq!(ended, (now + Duration::from_secs(3), DownReason::Silent));
}

#[test]
fn a_closed_session_says_nothing_more() {
    let now = Instant::now();
    let mut session = up(now);
    session.handle_shutdown(GoodbyeReason::ShuttingDown);
    drain(&mut session);

    control(&mut session, hello(), now);
    session.handle_goodbye(GoodbyeReason::Replaced);
    session.handle_lost("gone".to_owned());
    session.handle_newest(cursor(5));
    session.handle_timeout(now + Duration::from_secs(60));

    assert_eq!(session.poll_output(), None);
    assert_eq!(session.poll_timeout(), None);
}

#[test]
fn an_old_word_of_the_store_does_not_make_the_session_ask_for_ever() {
    let now = Instant::now();
    let mut session = up(now);
    let empty = |revision| {
        Answer::Changes(Ok(Batch {
            changes: Vec::new(),
            cursor: cursor(revision),
            is_last: true,
        }))
    };
    session.handle_answer(Answer::Page(Page {
        changes: Vec::new(),
        rest: Vec::new(),
        cursor: cursor(7),
    }));
    drain(&mut session);

    session.handle_newest(Cursor::at(Epoch(99), Revision(1)));
    let asked = questions(&drain(&mut session));
    session.handle_answer(empty(7));
    let asked_again = questions(&drain(&mut session));

    assert_eq!((asked, asked_again), (1, 0));
}

const INTERVAL: Duration = Duration::from_millis(100);

fn instance(number: u8) -> Instance {
    let replica = format!("replica-{number}");
    Instance::try_new(
        InstanceId([number; 16]),
        Incarnation(number.into()),
        &replica,
    )
    .unwrap()
}

fn session(resume: Option<Cursor>, now: Instant) -> Session {
    Session::new(config(resume), now)
}

fn config(resume: Option<Cursor>) -> Config {
    Config {
        cluster: ClusterName::parse("east").unwrap(),
        instance: instance(1),
        peer: ClusterName::parse("west").unwrap(),
        origins: Origins::Own,
        heartbeat_interval: INTERVAL,
        detect_multiplier: 3,
        subscription: Subscription::Now(
            resume.map_or_else(Offer::default, |cursor| Resume::from(cursor).offer()),
        ),
        features: Features::ALL,
    }
}

fn up(now: Instant) -> Session {
    let mut session = session(None, now);
    control(&mut session, hello(), now);
    control(&mut session, welcome(false), now);
    drain(&mut session);
    assert!(session.is_up());
    session
}

fn control(session: &mut Session, body: Body, now: Instant) {
    session.handle_frame(Channel::Control, Frame { body: Some(body) }, now);
}

fn state(session: &mut Session, body: Body, now: Instant) {
    session.handle_frame(Channel::Bulk, Frame { body: Some(body) }, now);
}

fn drain(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

fn questions(outputs: &[Output]) -> usize {
    let is_question = |output: &&Output| matches!(output, Output::Ask(..));
    outputs.iter().filter(is_question).count()
}

fn assert_violation(session: &mut Session, violation: Violation) {
    let outputs = drain(session);
    assert!(outputs.contains(&Output::Close(GoodbyeReason::ProtocolViolation)));
    assert_eq!(
        outputs.last(),
        Some(&Output::Down(DownReason::ProtocolViolation(violation)))
    );
}

/// Jumps from deadline to deadline until the session is down.
fn run_to_the_end(session: &mut Session, mut now: Instant) -> (Instant, DownReason) {
    loop {
        for output in drain(session) {
            if let Output::Down(reason) = output {
                return (now, reason);
            }
        }
        now = session.poll_timeout().unwrap();
        session.handle_timeout(now);
    }
}

fn hello_message() -> wire::Hello {
    wire::Hello {
        heartbeat_interval_ms: 100,
        ..wire::Hello::default()
    }
}

fn hello() -> Body {
    Body::Hello(hello_message())
}

fn welcome(resumed: bool) -> Body {
    Body::Welcome(wire::Welcome { resumed })
}

fn subscribe() -> Body {
    Body::Subscribe(wire::Subscribe::default())
}

fn heartbeat(seq: u64) -> Body {
    Body::Heartbeat(wire::Heartbeat {
        seq,
        ..wire::Heartbeat::default()
    })
}

fn begin() -> Body {
    Body::SnapshotBegin(wire::SnapshotBegin::default())
}

fn updates() -> Body {
    Body::Updates(wire::Updates::default())
}

fn end() -> Body {
    Body::SnapshotEnd(wire::SnapshotEnd::default())
}

fn progress(revision: Option<u64>) -> Body {
    let position = revision.map(|revision| wire::Position { epoch: 1, revision });
    Body::Progress(wire::Progress {
        position,
        urgent_frames: 0,
    })
}

fn cursor(revision: u64) -> Cursor {
    Cursor::at(Epoch(1), Revision(revision))
}
