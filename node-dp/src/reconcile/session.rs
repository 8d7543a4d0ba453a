//! What the session with the gateway says, and what is known of it.

use std::{net::SocketAddr, time::Duration};

use cluster_registry::resource::ResourceId;
use mesh_link::event::{PeerEvent, Report, SessionId, Update};

use super::{Maps, Reconcile, now};

/// The session with the gateway.
#[derive(Debug, Clone, Default)]
pub(crate) struct GatewayState {
    /// The gateway of the last session, or of the last attempt.
    pub(crate) address: Option<SocketAddr>,
    /// The session that is up.
    pub(crate) session: Option<SessionId>,
    /// Its round-trip time.
    pub(crate) rtt: Option<Duration>,
}

impl<M: Maps> Reconcile<M> {
    pub(super) fn handle_report(&mut self, report: Report) {
        let is_current = self.gateway.session == Some(report.session);
        match report.event {
            PeerEvent::Up {
                address, resumed, ..
            } => {
                tracing::info!(%address, resumed, "the session with the gateway is up");
                self.gateway.address = Some(address);
                self.gateway.session = Some(report.session);
                self.metrics.gateway_connected.set(1);
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
            PeerEvent::Rtt(rtt) if is_current => self.gateway.rtt = Some(rtt),
            PeerEvent::Refused(refusal) if is_current => {
                tracing::warn!(reason = refusal.label(), "refused an update of the gateway");
            }
            PeerEvent::Down { reason } if is_current => {
                tracing::warn!(reason = reason.label(), "the session with the gateway is down");
                self.gateway.session = None;
                self.gateway.rtt = None;
                self.metrics.gateway_connected.set(0);
                self.replica.handle_session_end();
                self.take_touched();
            }
            // The dialer itself resumes from here.
            PeerEvent::Progress(_)
            | PeerEvent::Subscribed { .. }
            // An older session's last words.
            | PeerEvent::SnapshotBegin(_)
            // Whose answer it does not wait for.
            | PeerEvent::Compare { .. }
            | PeerEvent::Updates(_)
            | PeerEvent::SnapshotEnd
            | PeerEvent::Rtt(_)
            | PeerEvent::Refused(_)
            | PeerEvent::Down { .. } => {}
        }
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
        self.gateway.address = address.or(self.gateway.address);
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
