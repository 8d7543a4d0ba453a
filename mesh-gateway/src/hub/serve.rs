//! From when the hub has something to say, and to whom it says it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cluster_registry::{link::LinkStatus, name::ClusterName};

use super::{Hub, status};
use crate::metrics::gauge_value;

/// How long nodes wait for peers after a start: a session on a good path is up and heard within a second.
///
/// Nodes keep what they have while they wait. Told at once, they would drop other clusters' backends, as a gateway that
/// has just started knows of none, unless an earlier life of it saved them.
const FEED_GRACE: Duration = Duration::from_secs(3);

impl Hub {
    pub(super) fn note_synced(&mut self) {
        self.is_synced = true;
        self.facts.metrics.source_synced.set(1);
        self.drop_what_no_source_said();
        self.serve();
    }

    /// There is something to say, to peers at once, and to nodes when it is not less than what they know.
    pub(super) fn serve(&mut self) {
        self.guard = None;
        self.serves.cancel();
        let opens = Instant::now() + FEED_GRACE;
        self.feed_opens.get_or_insert(opens);
        self.open_feed_if_due(Instant::now());
    }

    /// Nodes are told once all peers were heard, or are known from an earlier life, or the grace is over.
    pub(super) fn open_feed_if_due(&mut self, now: Instant) {
        let Some(opens) = self.feed_opens else {
            return;
        };
        let has_heard_all = self.peers.values().all(|peer| peer.holding.has_said_all());
        let is_complete = has_heard_all || self.is_restored;
        if !self.is_feed_open && (is_complete || opens <= now) {
            let is_restored = self.is_restored;
            tracing::info!(has_heard_all, is_restored, "nodes are served");
            self.is_feed_open = true;
        }
    }

    /// How the links do, once it is known which there are.
    ///
    /// What a peer shares is held for the hold time when it is lost; so it is when this gateway was away, though it has
    /// to hear the peer again to know what that is.
    pub(super) fn link_states(&self) -> Option<BTreeMap<ClusterName, LinkStatus>> {
        let away = self.started_at.elapsed() < self.hold_time;
        let may_await = away && !self.is_restored;
        let states = || status::links(&self.registry, &self.peers, may_await);
        self.guard.is_none().then(states)
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
