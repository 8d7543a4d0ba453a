//! The seat of one identity, with the handle of the session that has it: whichever session loses is closed.

use std::{net::SocketAddr, time::Duration};

use mesh_gateway_core::peering::{self, Seating};
use mesh_link::event::{GoodbyeReason, SessionHandle, SessionId};

/// The seat of one identity.
#[derive(Debug, Default)]
pub(super) struct Seat {
    seat: peering::Seat<SessionId>,
    handle: Option<SessionHandle>,
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
        match self.seat.take(session) {
            Seating::Refused(reason) => {
                handle.close(reason);
                return false;
            }
            Seating::Taken { .. } => self.close(GoodbyeReason::Replaced),
        }
        self.handle = Some(handle);
        self.address = Some(address);
        self.rtt = None;
        self.sessions += 1;
        true
    }

    /// Empties the seat if the session that ended had it.
    pub(super) fn leave(&mut self, session: SessionId) -> bool {
        let had_it = self.seat.leave(session);
        if had_it {
            self.handle = None;
            self.rtt = None;
        }
        had_it
    }

    /// Ends the session that has the seat; its last report empties it.
    pub(super) fn close(&self, reason: GoodbyeReason) {
        if let Some(handle) = &self.handle {
            handle.close(reason);
        }
    }

    /// Whether the session has the seat.
    pub(super) fn is_of(&self, session: SessionId) -> bool {
        self.seat.is_of(session)
    }

    /// Whether any session has it.
    pub(super) fn is_taken(&self) -> bool {
        self.seat.is_taken()
    }
}
