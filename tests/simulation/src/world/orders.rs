//! What the hubs of gateways want of their sessions.

use std::time::Duration;

use cluster_registry::store::Epoch;
use mesh_gateway_core::reason::GoodbyeReason;

use super::World;
use crate::{
    drive::{Drive, SessionNumber},
    gateway::Order,
};

impl World {
    pub(super) fn settle_all_of(&mut self, gateway: usize) {
        let ends = self.connections.iter().flat_map(|(id, connection)| {
            let own = (0..2).filter(|number| connection.ends[*number].gateway == gateway);
            own.map(|number| (*id, number))
        });
        for (id, number) in ends.collect::<Vec<_>>() {
            self.settle_end(id, number);
        }
    }

    /// Tells the sessions of a gateway what its hub wants of them.
    pub(super) fn obey(&mut self, gateway: usize) {
        for order in std::mem::take(&mut self.gateways[gateway].orders) {
            match order {
                Order::Subscribe(session) => self.subscribe(gateway, session),
                Order::Close(session, reason) => {
                    self.shut_sessions(gateway, reason, |drive| drive.number == session);
                }
                Order::EndFeed(feed) => self.end_feed(gateway, feed),
                Order::Compared(session, step) => {
                    let drives = self.connections.values_mut().flat_map(|c| &mut c.ends);
                    let mut own = drives.filter_map(|end| end.drive.as_mut());
                    if let Some(drive) = own.find(|drive| drive.number == session) {
                        drive.session.handle_compared(step);
                    }
                }
                Order::Answer(session, half, answer) => {
                    let at = self.now + Duration::from_micros(self.rng.u64(0..5000));
                    let drives = self.connections.values_mut().flat_map(|c| &mut c.ends);
                    let mut own = drives.filter_map(|end| end.drive.as_mut());
                    if let Some(drive) = own.find(|drive| drive.number == session) {
                        drive.expect_answer(half, at, answer);
                    }
                }
            }
        }
        self.settle_all_of(gateway);
    }

    /// The session is the lead: from now on its peer's state is wanted.
    fn subscribe(&mut self, gateway: usize, session: SessionNumber) {
        for connection in self.connections.values_mut() {
            let [dialler, listener] = [0, 1].map(|end| connection.ends[end].gateway);
            for (end, teller) in connection.ends.iter_mut().zip([listener, dialler]) {
                let drive = end.drive.as_mut();
                let Some(drive) = drive.filter(|drive| drive.number == session) else {
                    continue;
                };
                let place = (gateway, drive.peer.clone());
                if self.tellers.insert(place, teller) != Some(teller)
                    && let Some(reading) = self.readings[gateway].get_mut(&drive.peer)
                {
                    reading.change_teller();
                }
                if let Some(peer) = self.gateways[gateway].peers.get_mut(&drive.peer) {
                    drive.subscribe(&mut peer.resume, self.plan.pace);
                }
            }
        }
    }

    fn end_feed(&mut self, gateway: usize, feed: Epoch) {
        self.shut_sessions(gateway, GoodbyeReason::ShuttingDown, |drive| {
            drive.feed == feed
        });
    }

    /// Ends some sessions of a gateway.
    pub(super) fn shut_sessions(
        &mut self,
        gateway: usize,
        reason: GoodbyeReason,
        which: impl Fn(&Drive) -> bool,
    ) {
        let drives = self.connections.values_mut().flat_map(|c| &mut c.ends);
        for end in drives.filter(|end| end.gateway == gateway) {
            if let Some(drive) = end.drive.as_mut().filter(|drive| which(drive)) {
                drive.session.handle_shutdown(reason);
            }
        }
        self.settle_all_of(gateway);
    }

    /// Tells the sessions of a gateway where its store stands.
    pub(super) fn publish(&mut self, gateway: usize) {
        let drives = self.connections.values_mut().flat_map(|c| &mut c.ends);
        for end in drives.filter(|end| end.gateway == gateway) {
            if let Some(drive) = &mut end.drive
                && let Some(newest) = self.gateways[gateway].newest_of(drive.feed)
            {
                drive.handle_newest(newest);
            }
        }
        self.settle_all_of(gateway);
    }
}
