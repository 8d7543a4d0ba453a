//! What is written and read without messages in between is what the messages would be.

use super::*;
use crate::reason::Violation;

proptest! {
    #[test]
    fn a_change_is_written_as_its_message_is(change in any_change(), own in "[a-z]{1,8}") {
        let own = cluster(&own);
        let mut bytes = Vec::new();

        write_change(&change, &own, &mut bytes);

        prop_assert_eq!(bytes, encode_change(&change, &own).encode_to_vec());
    }

    #[test]
    fn what_is_digested_is_an_update_with_its_origin(change in any_change()) {
        let Change { key, value, .. } = change;
        for value in [None, value] {
            let mut bytes = Vec::new();
            encode_for_digest(&key, value.as_ref(), &mut bytes);
            let change = Change { key: key.clone(), value, revision: Revision(1), trace: None };
            let update = encode_change(&change, &cluster("nobody"));
            let update = wire::Update { gone: false, ..update };
            prop_assert_eq!(bytes, update.encode_to_vec());
        }
    }

    #[test]
    fn a_snapshot_is_read_as_its_messages_are(changes in many_changes(), origins in any_origins()) {
        let mut frame = Vec::new();
        for change in &changes {
            append_update(&encode_change(change, &cluster("east")).encode_to_vec(), &mut frame);
        }

        assert_read_alike(&frame, origins);
    }

    #[test]
    fn a_damaged_snapshot_is_read_as_its_messages_are(
        changes in many_changes(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut frame = Vec::new();
        for change in &changes {
            append_update(&encode_change(change, &cluster("east")).encode_to_vec(), &mut frame);
        }
        for (at, with) in damages {
            *at.get_mut(&mut frame) = with;
        }

        assert_read_alike(&frame, Origins::Any);
    }
}

#[test]
fn more_updates_than_a_frame_may_have_are_a_violation() {
    let mut frame = Vec::new();
    for _ in 0..=MAX_UPDATES_PER_FRAME {
        append_update(&[], &mut frame);
    }

    let read = SnapshotReader::default().read(&frame, &cluster("east"), Origins::Own);

    assert_eq!(read, Err(Violation::TooManyUpdates));
}

#[test]
fn names_that_are_remembered_are_bounded() {
    let mut reader = SnapshotReader::default();
    for n in 0..=MAX_KNOWN_NAMES {
        let endpoint = Endpoint {
            node: Some(NodeName::parse(&format!("n{n}")).unwrap()),
            zone: Some(format!("z{n}").into()),
            ..Endpoint::ready([])
        };
        let mut frame = Vec::new();
        let change = Change {
            key: Key {
                cluster: cluster("east"),
                id: ResourceId::Endpoint(
                    ServiceName::parse("shop", "web").unwrap(),
                    IpAddr::from([10, 0, 0, 1]),
                ),
            },
            value: Some(endpoint.into()),
            revision: Revision(1),
            trace: None,
        };
        let mut update = Vec::new();
        write_change(&change, &cluster("east"), &mut update);
        append_update(&update, &mut frame);
        reader.read(&frame, &cluster("east"), Origins::Own).unwrap();

        let (nodes, zones) = reader.known();
        assert!(nodes.max(zones) <= MAX_KNOWN_NAMES);
    }
}

fn assert_read_alike(frame: &[u8], origins: Origins) {
    let peer = cluster("east");
    let mut reader = SnapshotReader::default();
    let by_messages = wire::Updates::decode(frame);
    // Whatever the reader remembers of a frame does not change what it makes of the next.
    for _ in 0..2 {
        let read = reader.read(frame, &peer, origins);
        let Ok(messages) = &by_messages else {
            assert_eq!(read, Err(Violation::BadPacking));
            continue;
        };
        let (taken, refused) = read.unwrap();
        let all = messages.updates.iter().cloned();
        let (expected, refusals): (Vec<_>, Vec<_>) = all
            .map(|update| decode_update(update, &peer, origins))
            .partition(Result::is_ok);
        let expected: Vec<Update> = expected.into_iter().flatten().collect();
        let refusals: Vec<Refusal> = refusals.into_iter().filter_map(Result::err).collect();
        assert_eq!((taken, refused), (expected, refusals));
    }
}

/// Changes of which several stand next to each other that are of one service.
fn many_changes() -> impl Strategy<Value = Vec<Change>> {
    let run = (any_change(), 1..4_usize).prop_map(|(change, count)| vec![change; count]);
    prop::collection::vec(run, 1..8).prop_map(|runs| runs.concat())
}

fn any_origins() -> impl Strategy<Value = Origins> {
    prop_oneof![Just(Origins::Own), Just(Origins::Any)]
}
