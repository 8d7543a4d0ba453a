//! The verdict on each cluster, and since when it stands.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use cluster_registry::{cluster::Control, name::ClusterName};
use node_dp_core::{
    plan::Planner,
    tunnel::TunnelPlan,
    verdict::{Path, Ruling, Verdict, verdict},
};

use crate::probe::{PathStatus, Paths};

/// What is known of a cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Its index in the maps.
    pub(crate) index: Option<u16>,
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// Its control session; `None` for the own cluster.
    pub(crate) control: Option<Control>,
    /// Its path.
    pub(crate) path: Path,
    /// The round-trip time of the last probe.
    pub(crate) rtt: Option<Duration>,
    /// Since when the verdict stands.
    pub(crate) since: SystemTime,
}

/// The verdicts.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    controls: BTreeMap<ClusterName, Control>,
    known: BTreeMap<ClusterName, Known>,
}

impl Verdicts {
    /// A cluster is linked, and its control session is so.
    pub(super) fn set_control(&mut self, name: &ClusterName, control: Control) {
        self.controls.insert(name.clone(), control);
    }

    /// A cluster is linked no more.
    pub(super) fn forget(&mut self, name: &ClusterName) {
        self.controls.remove(name);
        self.known.remove(name);
    }

    /// Rules all clusters, and gives those on which the verdict is new.
    pub(super) fn judge(
        &mut self,
        paths: &Paths,
        plan: &TunnelPlan,
        before: impl Fn(&ClusterName) -> Option<Ruling>,
    ) -> Vec<(ClusterName, Known)> {
        let mut changed = Vec::new();
        for (name, control) in &self.controls {
            let status = status_of(paths, plan, name);
            let verdict = verdict(*control, status.path, before(name));
            let old = self.known.get(name);
            let is_new = old.is_none_or(|known| known.verdict != verdict);
            let since = match old {
                Some(known) if !is_new => known.since,
                Some(_) | None => SystemTime::now(),
            };
            let known = Known {
                index: None,
                verdict,
                control: Some(*control),
                path: status.path,
                rtt: status.rtt,
                since,
            };
            self.known.insert(name.clone(), known);
            if is_new {
                changed.push((name.clone(), known));
            }
        }
        changed
    }

    /// What is known of all clusters, with their indices.
    pub(super) fn known(&self, planner: &Planner) -> BTreeMap<ClusterName, Known> {
        let known = self.known.iter();
        known
            .map(|(name, known)| {
                let index = planner.cluster_index(name);
                (name.clone(), Known { index, ..*known })
            })
            .collect()
    }
}

/// What the prober says, or what it will have to say once it has heard of its targets.
fn status_of(paths: &Paths, plan: &TunnelPlan, name: &ClusterName) -> PathStatus {
    if let Some(status) = paths.get(name) {
        return *status;
    }
    let is_probed = plan.targets.keys().any(|(cluster, _)| cluster == name);
    PathStatus {
        path: match is_probed {
            true => Path::Pending,
            false => Path::Unprobed,
        },
        rtt: None,
        loss_per_mille: None,
    }
}
