//! Who leads, who follows, and who is turned away.

use proptest::prelude::*;

use super::*;
use crate::instance::Incarnation;

#[test]
fn the_oldest_session_leads_and_the_next_one_follows_it() {
    let mut replicas = Replicas::default();
    up(&mut replicas, 1, instance("a", 1));
    assert_eq!(drain(&mut replicas), [Output::Lead(1)]);
    up(&mut replicas, 2, instance("b", 1));
    assert_eq!(drain(&mut replicas), []);

    replicas.handle_down(1);

    assert_eq!(drain(&mut replicas), [Output::Lead(2)]);
    assert!(replicas.is_lead(2));
}

#[test]
fn a_session_that_does_not_lead_ends_without_notice() {
    let mut replicas = two();

    replicas.handle_down(2);

    assert_eq!(drain(&mut replicas), []);
    assert!(replicas.is_lead(1));
}

#[test]
fn a_newer_life_of_a_replica_ends_the_older_ones_session() {
    let mut replicas = two();

    up(&mut replicas, 3, instance("a", 2));

    let replaced = Output::Close(1, GoodbyeReason::Replaced);
    assert_eq!(drain(&mut replicas), [replaced, Output::Lead(2)]);
    assert!(replicas.holds(3));
}

#[test]
fn an_older_incarnation_does_not_take_the_place_of_a_newer_one() {
    let mut replicas = Replicas::default();
    up(&mut replicas, 1, instance("a", 2));
    drain(&mut replicas);

    up(&mut replicas, 2, instance("a", 1));

    let refused = Output::Close(2, GoodbyeReason::OlderIncarnation);
    assert_eq!(drain(&mut replicas), [refused]);
    assert!(replicas.is_lead(1));
}

#[test]
fn who_dials_closes_a_second_session_with_a_process_and_who_is_dialled_keeps_it() {
    let mut replicas = two();
    up(&mut replicas, 3, instance("a", 1));
    let refused = Output::Close(3, GoodbyeReason::Duplicate);
    assert_eq!(drain(&mut replicas), [refused]);

    let mut replicas = two();
    replicas.handle_up(3, instance("a", 1), Dialled::There);
    assert_eq!(drain(&mut replicas), []);
    replicas.handle_down(1);
    assert_eq!(drain(&mut replicas), [Output::Lead(2)]);
    assert!(replicas.holds(3));
}

#[test]
fn more_replicas_than_are_held_are_turned_away() {
    let mut replicas = Replicas::default();
    for (session, name) in (1..).zip(["a", "b", "c", "d"]) {
        up(&mut replicas, session, instance(name, 1));
    }
    drain(&mut replicas);

    up(&mut replicas, 5, instance("e", 1));
    let refused = Output::Close(5, GoodbyeReason::TooManyReplicas);
    assert_eq!(drain(&mut replicas), [refused]);

    up(&mut replicas, 6, instance("b", 2));
    let replaced = Output::Close(2, GoodbyeReason::Replaced);
    assert_eq!(drain(&mut replicas), [replaced]);
}

#[test]
fn processes_that_do_not_tell_who_they_are_count_as_one() {
    let mut replicas = Replicas::default();
    up(&mut replicas, 1, None);
    drain(&mut replicas);

    up(&mut replicas, 2, None);

    let refused = Output::Close(2, GoodbyeReason::Duplicate);
    assert_eq!(drain(&mut replicas), [refused]);
}

proptest! {
    #[test]
    fn there_is_one_lead_while_a_session_is_up_and_never_two(
        events in prop::collection::vec((0..3_u8, 0..7_u8, 0..3_u64), 0..200),
    ) {
        let mut replicas = Replicas::default();
        let (mut live, mut led) = (Vec::new(), None);
        for (number, (kind, name, incarnation)) in (0_u64..).zip(events) {
            if kind == 0 && !live.is_empty() {
                let ended: u64 = live.remove(usize::from(name) % live.len());
                led = led.filter(|lead| *lead != ended);
                replicas.handle_down(ended);
            } else {
                live.push(number);
                let dialled = if kind == 1 { Dialled::Here } else { Dialled::There };
                let replica = instance(&name.to_string(), incarnation);
                replicas.handle_up(number, replica.filter(|_| name > 0), dialled);
            }
            while let Some(output) = replicas.poll_output() {
                match output {
                    Output::Lead(session) => {
                        prop_assert_eq!(led, None, "two leads");
                        led = Some(session);
                    }
                    Output::Close(session, _) => {
                        prop_assert!(live.contains(&session), "closed what is not up");
                        live.retain(|other| *other != session);
                        led = led.filter(|lead| *lead != session);
                    }
                }
            }
            prop_assert_eq!(led, replicas.lead());
            prop_assert_eq!(led.is_some(), !live.is_empty());
            let held: Vec<u64> = replicas.iter().map(|(session, _)| session).collect();
            prop_assert_eq!(&held, &live);
            prop_assert!(held.len() <= 2 * MAX_REPLICAS, "{} sessions", held.len());
        }
    }
}

fn two() -> Replicas<u64> {
    let mut replicas = Replicas::default();
    up(&mut replicas, 1, instance("a", 1));
    up(&mut replicas, 2, instance("b", 1));
    drain(&mut replicas);
    replicas
}

fn up(replicas: &mut Replicas<u64>, session: u64, instance: Option<Instance>) {
    replicas.handle_up(session, instance, Dialled::Here);
}

/// Lives of one replica are told apart by their incarnations.
fn instance(replica: &str, incarnation: u64) -> Option<Instance> {
    let mut id = [0; 16];
    id[..replica.len()].copy_from_slice(replica.as_bytes());
    id[15] = u8::try_from(incarnation).unwrap();
    Instance::try_new(InstanceId(id), Incarnation(incarnation), replica).ok()
}

fn drain(replicas: &mut Replicas<u64>) -> Vec<Output<u64>> {
    std::iter::from_fn(|| replicas.poll_output()).collect()
}
