//! A seat: at most one live session of one identity; a newer one replaces an older one, whose reports no longer count.

use std::{net::SocketAddr, time::Duration};

use mesh_link::event::{GoodbyeReason, SessionHandle, SessionId};

/// The seat of one identity.
#[derive(Debug, Default)]
pub(super) struct Seat {
    live: Option<(SessionId, SessionHandle)>,
    /// Where the session is, or the last one was, or was last looked for.
    pub(super) address: Option<SocketAddr>,
    /// The newest round trip of the live session.
    pub(super) rtt: Option<Duration>,
    /// How many sessions there have been.
    pub(super) sessions: u64,
}

impl Seat {
    /// Gives the seat to a session, unless a newer one has it; whichever loses is closed.
    pub(super) fn take(
        &mut self,
        session: SessionId,
        address: SocketAddr,
        handle: SessionHandle,
    ) -> bool {
        if let Some((old, old_handle)) = &self.live {
            if session < *old {
                handle.close(GoodbyeReason::Replaced);
                return false;
            }
            old_handle.close(GoodbyeReason::Replaced);
        }
        self.live = Some((session, handle));
        self.address = Some(address);
        self.rtt = None;
        self.sessions += 1;
        true
    }

    /// Empties the seat if the session that ended had it.
    pub(super) fn leave(&mut self, session: SessionId) -> bool {
        let had_it = self.is_of(session);
        if had_it {
            self.live = None;
            self.rtt = None;
        }
        had_it
    }

    /// Ends the session that has the seat; its last report empties it.
    pub(super) fn close(&self, reason: GoodbyeReason) {
        if let Some((_, handle)) = &self.live {
            handle.close(reason);
        }
    }

    /// Whether the session has the seat.
    pub(super) fn is_of(&self, session: SessionId) -> bool {
        self.live.as_ref().is_some_and(|(live, _)| *live == session)
    }

    /// Whether any session has it.
    pub(super) fn is_taken(&self) -> bool {
        self.live.is_some()
    }
}
