//! The order and the weights in which the clusters of a service are used.

use std::collections::{BTreeMap, BTreeSet};

use cluster_registry::{name::ClusterName, service::ClusterAffinity, view::MergedService};
use node_dp_common::{BackendValue, Group, MAX_GROUPS};

use super::backends::Candidates;

/// The backends that one cluster has for a frontend, and its rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranked<'a> {
    pub(super) tier: u8,
    pub(super) cluster: &'a ClusterName,
    pub(super) backends: &'a BTreeSet<BackendValue>,
    pub(super) weight: usize,
}

/// The clusters in the order of the service's policy: by tier, the own one first within its tier, then by name.
pub(super) fn ranked<'a>(
    service: &MergedService,
    local: &ClusterName,
    candidates: &'a BTreeMap<ClusterName, Candidates>,
) -> Vec<Ranked<'a>> {
    let affinity = service
        .local
        .as_ref()
        .map(|service| service.sharing.affinity)
        .unwrap_or_default();
    let mut groups: Vec<Ranked<'a>> = candidates
        .iter()
        .map(|(cluster, candidates)| Ranked {
            tier: tier(affinity, cluster == local),
            cluster,
            backends: &candidates.backends,
            weight: candidates.weight,
        })
        .collect();
    groups.sort_by_key(|group| (group.tier, group.cluster != local, group.cluster));
    groups
}

/// As many groups as fit into a service, and how many do not.
pub(super) fn fitting(mut groups: Vec<Ranked<'_>>) -> (Vec<Ranked<'_>>, usize) {
    let dropped = groups.len().saturating_sub(MAX_GROUPS);
    groups.truncate(MAX_GROUPS);
    (groups, dropped)
}

/// The group of a cluster's slots: its weight is the number of its backends, so that within a tier all are alike.
pub(super) fn value(index: u16, group: &Ranked<'_>, slots: &[BackendValue]) -> Group {
    let number = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    Group::new(index, group.tier, number(group.weight), number(slots.len()))
}

fn tier(affinity: ClusterAffinity, is_local: bool) -> u8 {
    match (affinity, is_local) {
        (ClusterAffinity::None, _)
        | (ClusterAffinity::Local, true)
        | (ClusterAffinity::Remote, false) => 0,
        (ClusterAffinity::Local, false) | (ClusterAffinity::Remote, true) => 1,
    }
}
