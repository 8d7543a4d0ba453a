//! Tests of when files are read, in simulated time.

use super::*;

#[test]
fn a_changed_file_is_due_after_a_moment_of_stillness() {
    let start = Instant::now();
    let mut settling = Settling::default();
    settling.handle_notice(changed("a"), start);
    settling.handle_notice(changed("a"), start + STILLNESS / 2);

    let due = start + STILLNESS / 2 + STILLNESS;
    assert_eq!(settling.poll_timeout(), Some(due));
    assert_eq!(settling.take_dirty(due - Duration::from_nanos(1)), None);
    assert_eq!(settling.take_dirty(due), Some(some(&["a"], &[])));
    assert_eq!(settling.poll_timeout(), None);
}

#[test]
fn a_file_that_is_being_written_waits_until_it_is_closed() {
    let start = Instant::now();
    let mut settling = Settling::default();
    settling.handle_notice(written("a"), start);
    settling.handle_notice(changed("b"), start);

    let dirty = settling.take_dirty(start + STILLNESS);
    assert_eq!(dirty, Some(some(&["b"], &["a"])));

    settling.handle_notice(changed("a"), start + STILLNESS * 2);
    let dirty = settling.take_dirty(start + STILLNESS * 3);
    assert_eq!(dirty, Some(some(&["a"], &[])));
}

#[test]
fn a_file_that_is_never_closed_is_read_when_patience_ends() {
    let start = Instant::now();
    let mut settling = Settling::default();
    settling.handle_notice(written("a"), start);
    settling.handle_notice(written("a"), start + PATIENCE - STILLNESS);

    assert_eq!(settling.poll_timeout(), Some(start + PATIENCE));
    assert_eq!(
        settling.take_dirty(start + PATIENCE),
        Some(some(&["a"], &[]))
    );
}

#[test]
fn a_directory_that_never_rests_is_read_when_patience_ends() {
    let start = Instant::now();
    let mut settling = Settling::default();
    let mut now = start;
    while now < start + PATIENCE {
        settling.handle_notice(changed("a"), now);
        assert_eq!(settling.take_dirty(now), None);
        now += STILLNESS / 2;
    }

    assert_eq!(settling.poll_timeout(), Some(start + PATIENCE));
}

#[test]
fn after_lost_events_everything_is_due() {
    let start = Instant::now();
    let mut settling = Settling::default();
    settling.handle_notice(written("a"), start);
    settling.handle_notice(Notice::Anything, start);
    settling.handle_notice(Notice::Anything, start + STILLNESS / 2);

    assert_eq!(settling.take_dirty(start + STILLNESS), Some(Dirty::All));
    assert_eq!(settling.poll_timeout(), None);
}

#[test]
fn looking_again_spares_what_is_being_written() {
    let start = Instant::now();
    let mut settling = Settling::default();
    settling.handle_notice(written("a"), start);
    settling.handle_notice(changed("b"), start);

    assert_eq!(settling.look_again(), some(&[], &["a"]));
}

fn changed(path: &str) -> Notice {
    Notice::Changed(PathBuf::from(path))
}

fn written(path: &str) -> Notice {
    Notice::Written(PathBuf::from(path))
}

fn some(due: &[&str], unfinished: &[&str]) -> Dirty {
    Dirty::Some {
        due: due.iter().map(PathBuf::from).collect(),
        unfinished: unfinished.iter().map(PathBuf::from).collect(),
    }
}
