//! Any question at all: none panics, and what is answered holds together.

use proptest::prelude::*;

use super::{
    clusterset::{headless_import, imported},
    *,
};

const KINDS: [RecordKind; 5] = [
    RecordKind::A,
    RecordKind::Aaaa,
    RecordKind::Srv,
    RecordKind::Txt,
    RecordKind::Other,
];

proptest! {
    #[test]
    fn no_question_panics_and_each_answer_is_of_its_kind(
        labels in prop::collection::vec(any_label(), 0..8),
        arbitrary in prop::collection::vec(".{0,70}", 0..8),
        headless in any::<bool>(),
    ) {
        let view = if headless { headless_import().view() } else { imported().view() };
        for labels in [labels, arbitrary] {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let answers = KINDS.map(|kind| lookup(&view, &labels, kind));

            for (kind, answer) in KINDS.iter().zip(&answers) {
                match answer {
                    Answer::Addresses(ips) => {
                        prop_assert!(!ips.is_empty());
                        prop_assert!(ips.iter().all(|ip| is_of(*ip, *kind)));
                    }
                    Answer::Places(places) => {
                        prop_assert_eq!(*kind, RecordKind::Srv);
                        prop_assert!(!places.is_empty());
                        for place in places {
                            prop_assert!(resolves(&view, &place.target), "{}", place.target);
                        }
                    }
                    Answer::Text(_) => prop_assert_eq!(*kind, RecordKind::Txt),
                    Answer::NoData | Answer::NxDomain => {}
                }
            }
            // Whether a name exists does not depend on the type of record.
            let denied = answers.iter().filter(|a| **a == Answer::NxDomain).count();
            prop_assert!(denied == 0 || denied == KINDS.len());
        }
    }
}

fn resolves(view: &View, target: &str) -> bool {
    let labels: Vec<&str> = target.split('.').collect();
    [RecordKind::A, RecordKind::Aaaa]
        .into_iter()
        .any(|kind| matches!(lookup(view, &labels, kind), Answer::Addresses(_)))
}

/// Labels that occur in names, so that many questions hit.
fn any_label() -> impl Strategy<Value = String> {
    let known = [
        "svc",
        "shop",
        "web",
        "east",
        "west",
        "north",
        "web-0",
        "10-1-0-1",
        "10-2-0-2",
        "fd02--1",
        "_http",
        "_dns",
        "_tcp",
        "_udp",
        "dns-version",
        "",
        "-",
        "_",
    ];
    prop::sample::select(known.to_vec()).prop_map(str::to_owned)
}
