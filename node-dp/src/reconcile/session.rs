//! What the session with the gateway says, and what is known of it.

use std::net::SocketAddr;

use cluster_registry::resource::ResourceId;
use isthmus_daemon::status::{GatewayLink, Replica};
use mesh_gateway_core::{instance::Instance, replicas::Dialled};
use mesh_link::event::{DownReason, PeerEvent, Report, SessionId, Update};

use super::{Maps, Reconcile, now};
use crate::status::micros;

impl<M: Maps> Reconcile<M> {
    /// The sessions with the gateways, as the status shows them.
    pub(super) fn gateway_link(&self) -> GatewayLink {
        let mut replicas: Vec<Replica> = Vec::new();
        for (held, instance) in self.gateways.iter() {
            replicas.push(Replica {
                replica: instance.map(|i| i.replica().to_owned()),
                instance: instance.map(|i| i.id().to_string()),
                address: Some(held.address),
                rtt_us: held.rtt.map(micros),
                lead: replicas.is_empty(),
            });
        }
        GatewayLink {
            address: self.gateways.address,
            connected: self.gateways.is_taken(),
            rtt_us: self.gateways.rtt().map(micros),
            replicas,
        }
    }

    pub(super) fn handle_report(&mut self, report: Report) {
        let session = report.session;
        let is_current = self.gateways.is_led_by(session);
        match report.event {
            PeerEvent::Up {
                address,
                instance,
                handle,
                resumed: _,
                certificate_expires: _,
            } => {
                let replica = instance.as_ref().map(Instance::replica);
                tracing::info!(%address, replica, "a session with a gateway is up");
                let had_lead = self.gateways.lead();
                let process = (instance, Dialled::Here);
                self.gateways.take(session, process, address, handle);
                if had_lead != self.gateways.lead() {
                    // What an outlived gateway has half said is said anew by the next one.
                    self.end_snapshot();
                }
                self.metrics.gateway_connected.set(1);
            }
            PeerEvent::Subscribed { resumed } if is_current => {
                let address = self.gateways.address;
                tracing::info!(?address, resumed, "the gateway is read");
            }
            PeerEvent::Unreachable { address, reason } => {
                self.note_unreachable(address, reason);
            }
            PeerEvent::SnapshotBegin(_) if is_current => self.replica.handle_snapshot_begin(),
            PeerEvent::Updates(updates) if is_current => self.take_updates(&updates),
            PeerEvent::SnapshotEnd if is_current => {
                self.replica.handle_snapshot_end(now());
                self.needs_sweep = true;
                self.take_touched();
                tracing::info!(resources = self.replica.len(), "took a snapshot");
            }
            PeerEvent::Rtt(rtt) => self.gateways.note_rtt(session, rtt),
            PeerEvent::Refused(refusal) if is_current => {
                tracing::warn!(reason = refusal.label(), "refused an update of the gateway");
            }
            PeerEvent::Down { reason } => self.note_down(session, &reason),
            // The dialer itself resumes from here.
            PeerEvent::Progress(_)
            | PeerEvent::Slowed(_)
            | PeerEvent::Subscribed { .. }
            // An older session's last words.
            | PeerEvent::SnapshotBegin(_)
            // Whose answer it does not wait for.
            | PeerEvent::Compare { .. }
            | PeerEvent::Updates(_)
            | PeerEvent::SnapshotEnd
            | PeerEvent::Refused(_) => {}
        }
    }

    /// The next session, if there is one, becomes the lead; what is known stays meanwhile.
    fn note_down(&mut self, session: SessionId, reason: &DownReason) {
        let was_lead = self.gateways.is_led_by(session);
        if !self.gateways.leave(session) {
            return;
        }
        let others = self.gateways.iter().count();
        tracing::warn!(
            reason = reason.label(),
            others,
            "a session with a gateway is down"
        );
        if was_lead {
            self.end_snapshot();
        }
        self.metrics.gateway_connected.set(i64::from(others > 0));
    }

    fn end_snapshot(&mut self) {
        self.replica.handle_session_end();
        self.take_touched();
    }

    /// Says so once, and not for every attempt.
    fn note_unreachable(&mut self, address: Option<SocketAddr>, reason: String) {
        let text = match address {
            Some(address) => format!("the gateway at {address} cannot be reached: {reason}"),
            None => format!("the gateway is not found: {reason}"),
        };
        if self.last_error.as_ref() != Some(&text) {
            tracing::warn!("{text}");
        }
        if !self.gateways.is_taken() {
            self.gateways.address = address.or(self.gateways.address);
        }
        self.last_error = Some(text);
    }

    fn take_updates(&mut self, updates: &[Update]) {
        let now = now();
        for update in updates {
            let value = update.value.as_ref();
            self.replica.handle_update(&update.key, value, now);
            match &update.key.id {
                ResourceId::Service(service) | ResourceId::Endpoint(service, _) => {
                    if update.trace.is_some() {
                        self.dirty.insert(service.clone(), update.trace);
                    }
                }
                ResourceId::Cluster
                | ResourceId::Node(_)
                | ResourceId::Tunnel(_)
                | ResourceId::Namespace(_)
                | ResourceId::Import(_) => {}
            }
        }
        self.take_touched();
    }
}
