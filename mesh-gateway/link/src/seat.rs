//! The sessions of one identity: its lead is subscribed, the others wait, and whichever is one too many is closed.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use mesh_gateway_core::{
    instance::Instance,
    pace::PaceLimit,
    replicas::{Dialled, Output, Replicas},
};

use crate::event::{GoodbyeReason, SessionHandle, SessionId};

/// The sessions of one identity.
#[derive(Debug, Default)]
pub struct Seat {
    replicas: Replicas<SessionId>,
    /// How fast the next lead is read, where that is limited.
    pub pace: Option<PaceLimit>,
    held: BTreeMap<SessionId, Held>,
    /// Where the lead is, or the last one was, or was last looked for.
    pub address: Option<SocketAddr>,
    /// How many sessions there have been.
    pub sessions: u64,
}

/// A session that is up.
#[derive(Debug)]
pub struct Held {
    handle: SessionHandle,
    /// Where the peer is.
    pub address: SocketAddr,
    /// The newest round trip.
    pub rtt: Option<Duration>,
}

impl Seat {
    /// A seat whose leads are read no faster than a pace allows.
    pub fn with_pace(pace: PaceLimit) -> Self {
        Self {
            pace: Some(pace),
            ..Self::default()
        }
    }

    /// A session came up; says whether it is held. If it is not, it is closed.
    pub fn take(
        &mut self,
        session: SessionId,
        (instance, dialled): (Option<Instance>, Dialled),
        address: SocketAddr,
        handle: SessionHandle,
    ) -> bool {
        let held = Held {
            handle,
            address,
            rtt: None,
        };
        self.held.insert(session, held);
        self.replicas.handle_up(session, instance, dialled);
        self.obey();
        let is_held = self.replicas.holds(session);
        self.sessions += u64::from(is_held);
        is_held
    }

    /// A session ended; says whether it was held.
    pub fn leave(&mut self, session: SessionId) -> bool {
        let was_held = self.held.remove(&session).is_some();
        self.replicas.handle_down(session);
        self.obey();
        was_held
    }

    /// Ends all sessions; their last reports empty the seat.
    pub fn close_all(&self, reason: GoodbyeReason) {
        for held in self.held.values() {
            held.handle.close(reason);
        }
    }

    /// Ends the lead; its last report makes the next session lead.
    pub fn close_lead(&self, reason: GoodbyeReason) {
        if let Some(lead) = self.led() {
            lead.handle.close(reason);
        }
    }

    /// Whether the session is the lead: only then does its word count.
    pub fn is_led_by(&self, session: SessionId) -> bool {
        self.replicas.is_lead(session)
    }

    /// Whether any session is up.
    pub fn is_taken(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// The newest round trip of the lead.
    pub fn rtt(&self) -> Option<Duration> {
        self.led()?.rtt
    }

    /// A round trip was measured.
    pub fn note_rtt(&mut self, session: SessionId, rtt: Duration) {
        if let Some(held) = self.held.get_mut(&session) {
            held.rtt = Some(rtt);
        }
    }

    /// The sessions that are up, the lead first, with the processes that they lead to.
    pub fn iter(&self) -> impl Iterator<Item = (&Held, Option<&Instance>)> {
        let held = |(session, instance)| Some((self.held.get(&session)?, instance));
        self.replicas.iter().filter_map(held)
    }

    /// The session whose word counts.
    pub fn lead(&self) -> Option<SessionId> {
        self.replicas.lead()
    }

    fn led(&self) -> Option<&Held> {
        self.held.get(&self.lead()?)
    }

    fn obey(&mut self) {
        while let Some(output) = self.replicas.poll_output() {
            match output {
                Output::Lead(session) => {
                    if let Some(held) = self.held.get(&session) {
                        self.address = Some(held.address);
                        held.handle.subscribe(self.pace);
                    }
                }
                Output::Close(session, reason) => {
                    if let Some(held) = self.held.remove(&session) {
                        held.handle.close(reason);
                    }
                }
            }
        }
    }
}
