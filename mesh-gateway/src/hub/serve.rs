//! From when the hub has something to say, and to whom it says it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cluster_registry::{link::LinkStatus, name::ClusterName};

use super::{Hub, nodes, status};
use crate::metrics::gauge_value;

/// How long nodes wait for peers after a start: a session on a good path is up and heard within a second.
///
/// Nodes keep what they have while they wait. Told at once, they would drop other clusters' backends, as a gateway that
/// has just started knows of none, unless an earlier life of it saved them.
pub(super) const FEED_GRACE: Duration = Duration::from_secs(3);

/// How long peers wait for this cluster's nodes after a start: an agent that has lost its gateway dials again within 2 s.
///
/// Told at once, a peer that reads this gateway would take the tunnel keys of nodes that it has not heard yet for
/// withdrawn. Shorter than what nodes wait for peers, so that clusters which start together do not wait in vain.
pub(super) const EXPORTS_GRACE: Duration = Duration::from_millis(2500);

/// Who is told what there is.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// Since when there is something to say.
    since: Option<Instant>,
    /// Whether peers are told.
    pub(super) exports: bool,
    /// Whether nodes are told.
    pub(super) feed: bool,
}

impl Openings {
    /// When those who wait are told without waiting longer.
    pub(super) fn next(&self) -> Option<Instant> {
        let since = self.since?;
        let exports = (!self.exports).then(|| since + EXPORTS_GRACE);
        let feed = (!self.feed).then(|| since + FEED_GRACE);
        exports.into_iter().chain(feed).min()
    }
}

impl Hub {
    pub(super) fn note_synced(&mut self) {
        self.is_synced = true;
        self.facts.metrics.source_synced.set(1);
        self.drop_what_no_source_said();
        self.serve();
    }

    /// There is something to say, to peers and nodes when it is not less than what they know.
    pub(super) fn serve(&mut self) {
        self.guard = None;
        self.serves.cancel();
        let now = Instant::now();
        self.openings.since.get_or_insert(now);
        self.open_if_due(now);
    }

    /// Peers are told once all nodes were heard, and nodes once all peers were, or what they would say is known from an
    /// earlier life, or the grace is over.
    pub(super) fn open_if_due(&mut self, now: Instant) {
        let Some(since) = self.openings.since else {
            return;
        };
        let is_restored = self.is_restored;
        if !self.openings.exports {
            let has_heard_all = nodes::are_heard(&self.nodes, &self.registry, &self.cluster);
            if has_heard_all || is_restored || since + EXPORTS_GRACE <= now {
                tracing::info!(has_heard_all, is_restored, "peers are served");
                self.openings.exports = true;
            }
        }
        if !self.openings.feed {
            let has_heard_all = self.peers.values().all(|peer| peer.holding.has_said_all());
            if has_heard_all || is_restored || since + FEED_GRACE <= now {
                tracing::info!(has_heard_all, is_restored, "nodes are served");
                self.openings.feed = true;
            }
        }
    }

    /// How the links do, once it is known which there are.
    ///
    /// What a peer shares is held for the hold time when it is lost; so it is when this gateway was away, though it has
    /// to hear the peer again to know what that is.
    pub(super) fn link_states(&self, now: Instant) -> Option<BTreeMap<ClusterName, LinkStatus>> {
        let has_just_started = now < self.openings.since? + self.hold_time;
        let may_await = has_just_started && !self.is_restored;
        Some(status::links(&self.registry, &self.peers, may_await))
    }

    /// Tells sessions and DNS where things stand.
    pub(super) fn publish(&mut self) {
        let may_serve = self.guard.is_none();
        if may_serve {
            self.registry.settle_imports();
        }
        let (exports, feed) = (
            self.registry.exports().cursor(),
            self.registry.feed().cursor(),
        );
        self.exports.publish(self.registry.exports());
        self.feed.publish(feed);
        let metrics = &self.facts.metrics;
        metrics
            .exports_revision
            .set(gauge_value(exports.revision.0));
        metrics.feed_revision.set(gauge_value(feed.revision.0));
        let is_first = self.views_tx.borrow().is_none();
        if may_serve && (!self.registry.take_touched().is_empty() || is_first) {
            self.views_tx.send_replace(Some(self.registry.view()));
        }
    }
}
