//! Random histories against a naive model, written apart from the merge: it asks each question of all facts.

use proptest::prelude::*;

use super::*;
use crate::{
    mcs::{Conflict, ConflictReason, Export, Import, NamespaceSharing, Rank},
    service::{ServiceKind, ServicePort},
    testing::{any_change, any_definition},
    traffic::SessionAffinity,
};

type Facts = BTreeMap<Key, Option<Resource>>;

proptest! {
    #[test]
    fn any_order_and_repetition_gives_what_a_naive_merge_gives(
        changes in prop::collection::vec(any_change(), 0..80),
        seed in any::<prop::sample::Index>(),
    ) {
        let mut history = Merge::new(cluster("east"));
        let mut newest = Facts::new();
        for (key, value) in &changes {
            history.apply(key, value.as_ref());
            history.apply(key, value.as_ref());
            history.view();
            newest.insert(key.clone(), value.clone());
        }
        let mut shuffled = Merge::new(cluster("east"));
        let mut order: Vec<_> = newest.iter().collect();
        if !order.is_empty() {
            let middle = seed.index(order.len());
            order.rotate_left(middle);
            order.reverse();
        }
        for (key, value) in order {
            shuffled.apply(key, value.as_ref());
        }

        let expected = naive(&newest);
        prop_assert_eq!(&comparable(&history.view()), &expected);
        prop_assert_eq!(&comparable(&shuffled.view()), &expected);
        prop_assert_eq!(history.view(), shuffled.view());
    }

    #[test]
    fn what_is_not_touched_is_equal_in_both_views(
        before in prop::collection::vec(any_change(), 0..40),
        after in prop::collection::vec(any_change(), 0..10),
    ) {
        let mut merge = Merge::new(cluster("east"));
        for (key, value) in &before {
            merge.apply(key, value.as_ref());
        }
        let old = merge.view();
        merge.take_touched();
        for (key, value) in &after {
            merge.apply(key, value.as_ref());
        }
        let new = merge.view();
        let touched = merge.take_touched();

        for name in old.services.keys().chain(new.services.keys()) {
            prop_assert!(
                touched.services.contains(name) || old.services.get(name) == new.services.get(name)
            );
        }
        for name in old.nodes.keys().chain(new.nodes.keys()) {
            prop_assert!(touched.nodes.contains(name) || old.nodes.get(name) == new.nodes.get(name));
        }
        for name in old.clusters.keys().chain(new.clusters.keys()) {
            prop_assert!(
                touched.clusters.contains(name) || old.clusters.get(name) == new.clusters.get(name)
            );
        }
    }

    #[test]
    fn every_cluster_of_a_clusterset_computes_the_same_import(
        definitions in prop::collection::vec(any_definition(), 2..=6),
        orders in prop::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let names: Vec<_> = (0..definitions.len()).map(|n| format!("c{n}")).collect();
        let mut imports = Vec::new();
        for (own, order) in names.iter().zip(&orders) {
            let mut facts: Vec<(Key, Resource)> = names
                .iter()
                .zip(&definitions)
                .map(|(name, definition)| {
                    let is_own = name == own;
                    let seen = if is_own { definition.clone() } else { definition.for_peers() };
                    (web(name), Resource::from(seen))
                })
                .collect();
            facts.push((shop_namespace(own), Resource::Namespace(NamespaceSharing::Allowed)));
            let middle = order.index(facts.len());
            facts.rotate_left(middle);
            let mut merge = Merge::new(cluster(own));
            for (key, value) in &facts {
                merge.apply(key, Some(value));
                merge.view();
            }
            let view = merge.view();
            let service = view.services.get(&shop("web"));
            imports.push(service.and_then(|service| service.import.clone()));
        }

        prop_assert!(imports.windows(2).all(|two| two[0] == two[1]), "{imports:#?}");
    }
}

/// A view, with the reasons of conflicts in place of their messages.
#[derive(Debug, PartialEq)]
struct Comparable {
    clusters: BTreeMap<ClusterName, crate::cluster::Cluster>,
    nodes: BTreeMap<(ClusterName, NodeName), MergedNode>,
    services: BTreeMap<ServiceName, MergedService>,
}

fn comparable(view: &View) -> Comparable {
    let services = view.services.iter().map(|(name, service)| {
        let mut service = MergedService::clone(service);
        if let Some(import) = &mut service.import {
            let import = Arc::make_mut(import);
            for conflict in &mut import.conflicts {
                assert!(!conflict.message.is_empty());
                conflict.message.clear();
            }
        }
        (name.clone(), service)
    });
    let nodes = view.nodes.iter();
    Comparable {
        clusters: view.clusters.clone(),
        nodes: nodes.map(|(k, v)| (k.clone(), (**v).clone())).collect(),
        services: services.collect(),
    }
}

/// The view that the newest state of all keys adds up to.
fn naive(newest: &Facts) -> Comparable {
    let own = cluster("east");
    let mut view = Comparable {
        clusters: BTreeMap::new(),
        nodes: BTreeMap::new(),
        services: BTreeMap::new(),
    };
    let present = newest
        .iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)));
    for (key, value) in present {
        let cluster = key.cluster.clone();
        match (&key.id, value) {
            (ResourceId::Cluster, Resource::Cluster(control)) if cluster != own => {
                view.clusters.insert(cluster, *control);
            }
            (ResourceId::Node(name), Resource::Node(node)) => {
                let merged = view.nodes.entry((cluster, name.clone())).or_default();
                merged.node = Some((**node).clone());
            }
            (ResourceId::Tunnel(name), Resource::Tunnel(tunnel)) => {
                let merged = view.nodes.entry((cluster, name.clone())).or_default();
                merged.tunnel = Some((**tunnel).clone());
            }
            (ResourceId::Service(name), Resource::Service(service)) => {
                if cluster == own {
                    let merged = view.services.entry(name.clone()).or_default();
                    merged.local = Some(Arc::clone(service));
                } else if service.is_exported() {
                    let merged = view.services.entry(name.clone()).or_default();
                    merged.remote.insert(cluster, Arc::clone(service));
                }
            }
            _ => {}
        }
    }
    for (name, merged) in &mut view.services {
        add_import(newest, name, merged);
        add_endpoints(newest, name, merged);
    }
    view
}

fn add_endpoints(newest: &Facts, name: &ServiceName, merged: &mut MergedService) {
    for (key, value) in newest {
        let (ResourceId::Endpoint(of, address), Some(Resource::Endpoint(endpoint))) =
            (&key.id, value)
        else {
            continue;
        };
        if of != name {
            continue;
        }
        if is_used(merged, &key.cluster) {
            let endpoints = merged.endpoints.get_or_default(&key.cluster);
            endpoints.insert(*address, Arc::clone(endpoint));
        }
        let import = merged.import.as_ref();
        if import.is_some_and(|import| import.clusters.contains(&key.cluster)) {
            let endpoints = merged.import_endpoints.get_or_default(&key.cluster);
            endpoints.insert(*address, Arc::clone(endpoint));
        }
    }
}

/// Whether clients of east's own service use the endpoints that a cluster has for it.
fn is_used(merged: &MergedService, cluster: &ClusterName) -> bool {
    let Some(own) = &merged.local else {
        return false;
    };
    if cluster.as_str() == "east" {
        return true;
    }
    let theirs = merged.remote.get(cluster);
    own.sharing.global
        && theirs.is_some_and(|service| {
            service.kind != ServiceKind::ExternalName
                && service.sharing.global
                && service.sharing.shared
        })
}

fn add_import(newest: &Facts, name: &ServiceName, merged: &mut MergedService) {
    let said = match newest.get(&shop_namespace("east")) {
        Some(Some(Resource::Namespace(sharing))) => Some(*sharing),
        _ => None,
    };
    let has_local = newest.iter().any(|(key, value)| {
        key.cluster.as_str() == "east"
            && matches!(key.id, ResourceId::Service(_))
            && value.is_some()
    });
    if said == Some(NamespaceSharing::Excluded) || (said.is_none() && !has_local) {
        return;
    }
    let own = merged
        .local
        .iter()
        .map(|own| (cluster("east"), Arc::clone(own)));
    let remote = merged.remote.iter();
    let remote = remote.map(|(cluster, service)| (cluster.clone(), Arc::clone(service)));
    let exporters: Vec<Exporter> = own
        .chain(remote)
        .filter(|(_, service)| service.kind != ServiceKind::ExternalName)
        .filter(|(_, service)| service.export.is_some())
        .map(|(cluster, service)| Exporter { cluster, service })
        .collect();
    merged.import = naive_import(&exporters).map(Arc::new);
    let import = merged.import.as_ref();
    let key = key("east", ResourceId::Import(name.clone()));
    if import.is_some_and(|import| import.kind == ImportKind::ClusterSetIp)
        && let Some(Some(Resource::Import(addresses))) = newest.get(&key)
    {
        merged.clusterset_ips = addresses.ips.clone();
    }
}

/// The import of some valid exports: every question is asked of all of them.
fn naive_import(exporters: &[Exporter]) -> Option<Import> {
    let winner = exporters.iter().min_by_key(|exporter| exporter.rank())?;
    let own = &winner.service;
    let (ports, _) = naive_ports(exporters);
    Some(Import {
        oldest: winner.rank(),
        kind: winner.kind(),
        ports,
        ip_families: own.ip_families,
        session_affinity: own.session_affinity,
        internal_traffic_policy: own.internal_traffic_policy,
        traffic_distribution: own.traffic_distribution,
        labels: winner.export().labels.clone(),
        annotations: winner.export().annotations.clone(),
        clusters: exporters.iter().map(|e| e.cluster.clone()).collect(),
        conflicts: naive_conflicts(exporters, winner),
    })
}

fn naive_conflicts(exporters: &[Exporter], winner: &Exporter) -> Vec<Conflict> {
    let own = &winner.service;
    let some = |differs: &dyn Fn(&Exporter) -> bool| exporters.iter().any(differs);
    let families: Vec<_> = own.ip_families.iter().collect();
    let checks = [
        (ConflictReason::Port, !naive_ports(exporters).1),
        (ConflictReason::Type, some(&|e| e.kind() != winner.kind())),
        (
            ConflictReason::SessionAffinity,
            some(&|e| e.timeout().is_none() != winner.timeout().is_none()),
        ),
        (
            ConflictReason::SessionAffinityConfig,
            some(&|e| {
                let both = e.timeout().is_some() && winner.timeout().is_some();
                both && e.timeout() != winner.timeout()
            }),
        ),
        (
            ConflictReason::InternalTrafficPolicy,
            some(&|e| e.service.internal_traffic_policy != own.internal_traffic_policy),
        ),
        (
            ConflictReason::TrafficDistribution,
            some(&|e| e.service.traffic_distribution != own.traffic_distribution),
        ),
        (
            ConflictReason::IpFamily,
            some(&|e| {
                let theirs: Vec<_> = e.service.ip_families.iter().collect();
                !theirs.is_empty() && families.iter().any(|family| !theirs.contains(family))
            }),
        ),
        (
            ConflictReason::Labels,
            some(&|e| e.export().labels != winner.export().labels),
        ),
        (
            ConflictReason::Annotations,
            some(&|e| e.export().annotations != winner.export().annotations),
        ),
    ];
    let told = checks.into_iter().filter(|(_, is_conflict)| *is_conflict);
    told.map(|(reason, _)| Conflict {
        reason,
        message: String::new(),
    })
    .collect()
}

/// A cluster with a valid export.
struct Exporter {
    cluster: ClusterName,
    service: Arc<Service>,
}

impl Exporter {
    fn export(&self) -> &Export {
        self.service.export.as_deref().unwrap()
    }

    fn rank(&self) -> Rank {
        Rank {
            created: self.export().created,
            cluster: self.cluster.clone(),
        }
    }

    fn kind(&self) -> ImportKind {
        if self.service.kind == ServiceKind::Headless {
            ImportKind::Headless
        } else {
            ImportKind::ClusterSetIp
        }
    }

    fn timeout(&self) -> Option<std::time::Duration> {
        match self.service.session_affinity {
            SessionAffinity::None => None,
            SessionAffinity::ClientIp { timeout } => Some(timeout),
        }
    }
}

/// A port stays out if an older export, or an earlier port that is in, has its name, or its protocol and number.
fn naive_ports(exporters: &[Exporter]) -> (Vec<ServicePort>, bool) {
    let mut by_rank: BTreeMap<Rank, &[ServicePort]> = BTreeMap::new();
    for exporter in exporters {
        by_rank.insert(exporter.rank(), &exporter.service.ports);
    }
    let mut union: Vec<ServicePort> = Vec::new();
    for port in by_rank.values().copied().flatten() {
        let has_name = union.iter().any(|p| p.name == port.name);
        let number = (port.protocol, port.port);
        let has_number = union.iter().any(|p| (p.protocol, p.port) == number);
        if !has_name && !has_number {
            union.push(port.clone());
        }
    }
    let as_sets = by_rank.values().map(|ports| {
        let facts = |p: &ServicePort| (p.name.clone(), p.protocol, p.port, p.app_protocol.clone());
        ports.iter().map(facts).collect::<BTreeSet<_>>()
    });
    let mut as_sets: Vec<_> = as_sets.collect();
    as_sets.dedup();
    (union, as_sets.len() <= 1)
}
