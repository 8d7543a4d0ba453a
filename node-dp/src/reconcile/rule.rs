//! Takes clusters out of the maps and back in, as control and paths say.

use std::{collections::BTreeSet, sync::Arc};

use cluster_registry::name::ClusterName;
use node_dp_core::{image::MapOp, verdict::Ruling};

use super::{Maps, Reconcile};

impl<M: Maps> Reconcile<M> {
    /// Before the tunnels are up, or once they go, nothing reaches other clusters: their backends are out until a path is good.
    pub(super) fn take_out_unreachable(&mut self) {
        if !self
            .tunnels
            .as_ref()
            .is_some_and(|side| side.dies_with_agent)
        {
            return;
        }
        let clusters = self.planner.image().clusters.values();
        let names: Vec<ClusterName> = clusters
            .filter_map(|value| ClusterName::parse(value.name()).ok())
            .filter(|name| *name != self.cluster)
            .collect();
        let downs = names
            .iter()
            .filter_map(|name| self.planner.rule(name, Ruling::Down));
        let ops: Vec<MapOp> = downs.collect();
        self.write(&ops);
    }

    pub(super) fn take_clusters(&mut self, touched: &BTreeSet<ClusterName>) {
        let view = self.replica.view();
        for name in touched {
            match view.clusters.get(name) {
                Some(cluster) => self.verdicts.set_control(name, cluster.control),
                None => {
                    self.verdicts.forget(name);
                    self.metrics.forget_cluster(name);
                    self.planner.forget_cluster(name);
                    self.needs_sweep = true;
                }
            }
        }
    }

    /// Rules every cluster anew and writes what that changes.
    pub(super) fn judge(&mut self) {
        let paths = self.inputs.paths.borrow_and_update().clone();
        let plan = Arc::clone(&self.plan);
        let planner = &self.planner;
        let changed = self
            .verdicts
            .judge(&paths, &plan, |name| planner.ruling(name));
        for (name, known) in changed {
            let was_up = self.planner.ruling(&name) == Some(Ruling::Up);
            let op = self.planner.rule(&name, known.verdict.ruling);
            self.write(op.as_slice());
            // What an agent takes out because it has just started, or ends, may come back with all connections.
            if was_up && known.verdict.ruling == Ruling::Down {
                self.gone.clusters.extend(self.planner.cluster_index(&name));
            }
            self.metrics.note_verdict(&name, known.verdict);
            tracing::info!(
                cluster = %name,
                ruling = known.verdict.ruling.label(),
                reason = known.verdict.reason.label(),
                "ruled a cluster",
            );
        }
        self.tell();
    }
}
