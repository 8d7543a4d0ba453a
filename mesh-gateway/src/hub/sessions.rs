//! What the hub does with the reports of peers' sessions: who is connected, who is lost, and what they announce.

use std::time::{Duration, Instant, SystemTime};

use cluster_registry::{
    cluster::Control,
    digest::{Step, Summary},
    name::ClusterName,
    service::Timestamp,
    store::Cursor,
};
use isthmus_daemon::trace;
use mesh_link::event::{GoodbyeReason, PeerEvent, Report, SessionId, Update};
use tokio::sync::mpsc;

use super::{Hub, status};
use crate::metrics::{PeerLabels, ReasonLabels};

impl Hub {
    pub(super) fn handle_peer_report(&mut self, name: &ClusterName, report: Report) {
        let Report { session, event, .. } = report;
        let Some(peer) = self.peers.get_mut(name) else {
            if let PeerEvent::Up { handle, .. } = event {
                // Its link was removed while it came up.
                handle.close(GoodbyeReason::NotAuthorised);
            }
            return;
        };
        let is_current = peer.seat.is_led_by(session);
        match event {
            PeerEvent::Up {
                address,
                instance,
                resumed: _,
                certificate_expires,
                handle,
            } => {
                peer.certificate_expires = Some(certificate_expires);
                let process = (instance, peer.dialled(&self.cluster));
                if peer.seat.take(session, process, address, handle) {
                    self.note_connected(name);
                }
            }
            PeerEvent::Subscribed { resumed } if is_current => self.note_subscribed(name, resumed),
            PeerEvent::Unreachable { address, reason } if !peer.seat.is_taken() => {
                peer.note_unreachable(name, address, reason);
            }
            PeerEvent::Compare { theirs, reply } if is_current => {
                self.compare(name, &theirs, &reply);
            }
            PeerEvent::SnapshotBegin(ranges) if is_current => {
                peer.holding.handle_snapshot_begin();
                self.registry.handle_import_begin(name, &ranges);
            }
            PeerEvent::Progress(cursor) if is_current => self.note_progress(name, cursor),
            PeerEvent::Updates(updates) if is_current => self.import(name, updates),
            PeerEvent::SnapshotEnd if is_current => {
                peer.holding.handle_snapshot_end();
                self.registry.handle_import_end(name);
                self.open_if_due(Instant::now());
            }
            PeerEvent::Slowed(is_slowed) if is_current => peer.is_slowed = is_slowed,
            PeerEvent::Rtt(rtt) => self.note_rtt(name, session, rtt),
            PeerEvent::Refused(refusal) if is_current => {
                *peer.unreadable.entry(refusal.label()).or_default() += 1;
                self.count_refused(name, refusal.label());
            }
            PeerEvent::Down { reason } => {
                self.note_lost(name, session, &reason.to_string(), reason.label());
            }
            PeerEvent::Unreachable { .. }
            | PeerEvent::Subscribed { .. }
            | PeerEvent::Compare { .. }
            | PeerEvent::SnapshotBegin(_)
            | PeerEvent::Updates(_)
            | PeerEvent::SnapshotEnd
            | PeerEvent::Slowed(_)
            | PeerEvent::Refused(_)
            | PeerEvent::Progress(_) => {}
        }
    }

    /// Answers what a peer says it has, from what it said; without a link there is no answer.
    fn compare(&mut self, name: &ClusterName, theirs: &[Summary], reply: &mpsc::Sender<Step>) {
        let step = self.registry.compare_imports(name, theirs);
        // The session may have ended.
        step.into_iter().for_each(|step| drop(reply.try_send(step)));
    }

    fn note_rtt(&mut self, name: &ClusterName, session: SessionId, rtt: Duration) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        peer.seat.note_rtt(session, rtt);
        if peer.seat.is_led_by(session) {
            let gauge = self.facts.metrics.peer_rtt.get_or_create(&labels(name));
            gauge.set(rtt.as_secs_f64());
        }
    }

    fn note_connected(&mut self, name: &ClusterName) {
        // Another session is no news of the peer: what its lead is saying goes on.
        if let Some(peer) = self.peers.get_mut(name)
            && peer.connect(SystemTime::now())
        {
            self.registry.set_control(name, Control::Connected);
        }
        let metrics = &self.facts.metrics;
        metrics.peer_connected.get_or_create(&labels(name)).set(1);
        metrics.sessions.get_or_create(&labels(name)).inc();
    }

    /// The lead has begun to say what it has; one that continues what was dropped meanwhile is of no use.
    fn note_subscribed(&mut self, name: &ClusterName, resumed: bool) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        if let Err(reason) = peer.holding.check(resumed) {
            peer.seat.close_lead(reason);
            return;
        }
        peer.holding.connect(resumed);
        tracing::info!(peer = %name, resumed, address = ?peer.seat.address, "peer is connected");
        if !resumed {
            self.registry.prepare_comparison(name);
        }
        self.open_if_due(Instant::now());
    }

    fn note_lost(
        &mut self,
        name: &ClusterName,
        session: SessionId,
        reason: &str,
        label: &'static str,
    ) {
        let metrics = &self.facts.metrics;
        let ended = ReasonLabels {
            peer: name.to_string(),
            reason: label,
        };
        metrics.sessions_ended.get_or_create(&ended).inc();
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let had_lead = peer.seat.is_led_by(session);
        peer.is_slowed &= !had_lead;
        if !peer.seat.leave(session) {
            return;
        }
        if peer.seat.is_taken() {
            let lead = peer.seat.address.filter(|_| had_lead);
            tracing::info!(peer = %name, reason, ?lead, "a replica of the peer is lost; others are connected");
            return;
        }
        peer.lose(reason.to_owned(), Instant::now(), SystemTime::now());
        self.registry.set_control(name, Control::Lost);
        metrics.peer_connected.get_or_create(&labels(name)).set(0);
        tracing::warn!(peer = %name, reason, "peer is lost; what it shared stays");
    }

    fn import(&mut self, name: &ClusterName, updates: Vec<Update>) {
        let accepted = self
            .facts
            .metrics
            .updates_accepted
            .get_or_create_owned(&labels(name));
        let now = status::unix_ms(SystemTime::now()) / 1000;
        self.registry.set_time(Timestamp(now));
        // What stands in a snapshot is no change: a span for each would take longer than the registry does.
        let peer = self.peers.get(name);
        let are_changes = peer.is_some_and(|peer| peer.holding.progress().is_some());
        for update in updates {
            let Update {
                key,
                value,
                trace: cause,
            } = update;
            let span = match are_changes {
                true => tracing::info_span!("gateway.import", peer = %name, id = ?key.id),
                false => tracing::Span::none(),
            };
            trace::continue_from(&span, cause);
            let position = trace::context_of(&span).or(cause);
            let outcome = span.in_scope(|| {
                self.registry
                    .handle_import(name, key.clone(), value, position)
            });
            match outcome {
                Ok(()) => {
                    accepted.inc();
                }
                Err(refusal) => {
                    tracing::warn!(peer = %name, ?key, reason = %refusal, "update is refused");
                    self.count_refused(name, refusal.label());
                }
            }
        }
    }

    /// Once a peer that shared more than is taken shares much less, what was refused of it must be said again.
    fn note_progress(&mut self, name: &ClusterName, progress: Cursor) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        peer.holding.handle_progress(progress);
        if self.registry.take_room_again(name) {
            tracing::info!(peer = %name, "peer is below its link's limits again; it is asked for everything");
            peer.ask_for_everything();
            peer.seat.close_lead(GoodbyeReason::LinkChanged);
        }
    }

    fn count_refused(&self, name: &ClusterName, reason: &'static str) {
        let labels = ReasonLabels {
            peer: name.to_string(),
            reason,
        };
        let refused = &self.facts.metrics.updates_refused;
        refused.get_or_create(&labels).inc();
    }
}

fn labels(name: &ClusterName) -> PeerLabels {
    PeerLabels {
        peer: name.to_string(),
    }
}
