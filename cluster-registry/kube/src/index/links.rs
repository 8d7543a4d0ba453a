//! The links that objects ask for; they are told as one set, as they stand beside those of the gateway's flags.

use std::collections::BTreeMap;

use cluster_registry::{link::LinkSpec, name::ClusterName};

/// The links and whether they were told.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_cluster: BTreeMap<ClusterName, LinkSpec>,
    is_touched: bool,
}

impl Links {
    pub(super) fn set(&mut self, cluster: ClusterName, link: Option<LinkSpec>) {
        if self.by_cluster.get(&cluster) == link.as_ref() {
            return;
        }
        self.is_touched = true;
        match link {
            Some(link) => self.by_cluster.insert(cluster, link),
            None => self.by_cluster.remove(&cluster),
        };
    }

    /// The complete set, if it changed since this was last called.
    pub(super) fn take(&mut self) -> Option<BTreeMap<ClusterName, LinkSpec>> {
        std::mem::take(&mut self.is_touched).then(|| self.by_cluster.clone())
    }
}
