//! Replays what fuzzing has found, so that it stays found without a fuzzer.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and tests need one real instant to count from"
)]

#[allow(unreachable_pub, reason = "it is also a crate of its own")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::{fs, path::Path};

use proptest::prelude::*;

#[test]
fn the_corpus_of_frames_holds() {
    replay("frames", fuzz::frames);
}

#[test]
fn the_corpus_of_digests_holds() {
    replay("digest", fuzz::digest);
}

#[test]
fn the_corpus_of_sessions_holds() {
    replay("session", fuzz::session);
}

proptest! {
    #[test]
    fn any_bytes_hold_as_frames(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::frames(&bytes);
    }

    #[test]
    fn any_bytes_hold_as_digests(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::digest(&bytes);
    }

    #[test]
    fn any_bytes_hold_as_a_session(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::session(&bytes);
    }
}

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut files = 0;
    for entry in fs::read_dir(folder.join(target)).unwrap() {
        run(&fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 0, "the corpus of {target} is empty");
}
