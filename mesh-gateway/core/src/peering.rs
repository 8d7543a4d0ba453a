//! What a gateway makes of what one peer says over its sessions: how much of it is known, and until when it counts.

use std::time::{Duration, Instant};

use cluster_registry::store::Cursor;

use crate::reason::GoodbyeReason;

/// What is held of a peer's word over its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holding {
    has_said_all: bool,
    /// Up to where all that it said was taken; what is held is never older.
    progress: Option<Cursor>,
    /// When the peer was lost, while its word is still held.
    held_since: Option<Instant>,
    /// Whether its word was dropped, so that a session which continues it is of no use.
    needs_snapshot: bool,
    was_heard: bool,
}

impl Holding {
    /// Whether the peer has said everything at least once.
    pub fn was_heard(&self) -> bool {
        self.was_heard
    }

    /// Whether what is held is all that the peer said last.
    pub fn has_said_all(&self) -> bool {
        self.has_said_all
    }

    /// Up to where all that the peer said was taken; `None` within a snapshot, and before one.
    pub fn progress(&self) -> Option<Cursor> {
        self.progress
    }

    /// What an earlier life took up to a position is held again.
    pub fn restore(&mut self, progress: Cursor) {
        self.progress = Some(progress);
        self.has_said_all = true;
    }

    /// Whether the lead may be read: one that continues what was dropped must be closed.
    pub fn check(&self, resumed: bool) -> Result<(), GoodbyeReason> {
        if resumed && self.needs_snapshot {
            return Err(GoodbyeReason::LinkChanged);
        }
        Ok(())
    }

    /// The lead has begun to say what the peer has.
    pub fn connect(&mut self, resumed: bool) {
        self.needs_snapshot = false;
        self.held_since = None;
        self.has_said_all |= resumed;
        self.was_heard |= resumed;
    }

    /// The peer begins to say everything it has.
    pub fn handle_snapshot_begin(&mut self) {
        self.progress = None;
    }

    /// The peer has said everything it has.
    pub fn handle_snapshot_end(&mut self) {
        self.has_said_all = !self.needs_snapshot;
        self.was_heard |= self.has_said_all;
    }

    /// Everything up to a position was taken.
    ///
    /// What a session says that began before everything was asked for was taken, in part, under other grants.
    pub fn handle_progress(&mut self, progress: Cursor) {
        self.progress = Some(progress).filter(|_| !self.needs_snapshot);
    }

    /// The last of its sessions has ended.
    pub fn lose(&mut self, now: Instant) {
        self.held_since = Some(now);
    }

    /// When the word of a lost peer is no longer held.
    pub fn expires(&self, hold_time: Duration) -> Option<Instant> {
        self.held_since?.checked_add(hold_time)
    }

    /// The word of a lost peer is dropped: the next session must say everything.
    pub fn forget(&mut self) {
        self.held_since = None;
        self.ask_for_everything();
    }

    /// The next session must say everything; the position to resume from must be cleared with it.
    pub fn ask_for_everything(&mut self) {
        self.progress = None;
        self.needs_snapshot = true;
        self.has_said_all = false;
    }
}

#[cfg(test)]
mod tests {
    use cluster_registry::store::{Epoch, Revision};

    use super::*;

    #[test]
    fn a_session_that_continues_what_was_dropped_is_of_no_use() {
        let now = Instant::now();
        let mut holding = Holding::default();
        holding.connect(false);
        holding.handle_snapshot_end();
        holding.lose(now);
        assert_eq!(holding.check(true), Ok(()));
        assert_eq!(holding.expires(HOLD), Some(now + HOLD));

        holding.forget();

        assert_eq!(holding.check(true), Err(GoodbyeReason::LinkChanged));
        assert_eq!(holding.check(false), Ok(()));
        assert_eq!(holding.expires(HOLD), None);
        assert!(!holding.has_said_all());
        holding.connect(false);
        assert_eq!(holding.check(true), Ok(()));
    }

    #[test]
    fn what_was_still_said_when_everything_was_asked_for_does_not_count_as_all() {
        let cursor = Cursor::at(Epoch(1), Revision(7));
        let mut holding = Holding::default();
        holding.connect(false);
        holding.handle_snapshot_begin();

        holding.ask_for_everything();
        holding.handle_snapshot_end();
        holding.handle_progress(cursor);

        assert!(!holding.has_said_all());
        assert_eq!(holding.progress(), None);
        holding.connect(false);
        holding.handle_snapshot_end();
        holding.handle_progress(cursor);
        assert!(holding.has_said_all());
        assert_eq!(holding.progress(), Some(cursor));
    }

    const HOLD: Duration = Duration::from_secs(900);
}
