//! What the task says of itself when it is asked.

use std::collections::BTreeMap;

use cluster_registry::name::ClusterName;
use isthmus_daemon::status::GatewayLink;
use tokio::sync::oneshot;

use super::{Known, Maps, Reconcile};
use crate::datapath::Acceleration;

/// What the task says of itself.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The sessions with the gateways.
    pub(crate) gateway: GatewayLink,
    /// The verdict on each cluster.
    pub(crate) clusters: BTreeMap<ClusterName, Known>,
    /// The numbers of frontends and backends.
    pub(crate) sizes: (usize, usize),
    /// What was not served, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// The devices that are served, and those that are to be as soon as they are there.
    pub(crate) devices: BTreeMap<String, bool>,
    /// What came of the fast path at each of them.
    pub(crate) accelerations: BTreeMap<String, Acceleration>,
    /// The last thing that went wrong.
    pub(crate) last_error: Option<String>,
}

impl<M: Maps> Reconcile<M> {
    pub(super) fn answer(&self, request: oneshot::Sender<Snapshot>) {
        let image = self.planner.image();
        let drops = self.writer.drops().into_iter();
        let snapshot = Snapshot {
            gateway: self.gateway_link(),
            clusters: self.verdicts.known(&self.planner),
            sizes: (image.services.len(), image.backends.len()),
            drops: drops
                .map(|(reason, count)| (reason.label().to_owned(), count))
                .collect(),
            devices: self.writer.devices(),
            accelerations: self.writer.accelerations(),
            last_error: self.last_error.clone(),
        };
        // Who asked may have gone.
        drop(request.send(snapshot));
    }
}
