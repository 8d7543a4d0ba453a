//! What EndpointSlices an import shall have: one cluster's endpoints of one family and one set of ports in each.
//!
//! An endpoint stays in the slice that it is in, so that a change costs the slices it touches and no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use cluster_registry::{
    endpoint::{Endpoint, EndpointPort},
    name::{ClusterName, ServiceName},
    traffic::IpFamily,
    view::MergedService,
};
use k8s_openapi::{
    api::discovery::v1::{
        Endpoint as SliceEndpoint, EndpointConditions, EndpointPort as SlicePort, EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use crate::convert::{SERVICE_NAME_LABEL, SOURCE_CLUSTER_LABEL};

/// The import that a slice belongs to (KEP-1645).
pub(super) const IMPORT_LABEL: &str = "multicluster.kubernetes.io/service-name";

/// Who keeps a slice; the built-in controllers leave it alone.
pub(super) const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";

/// What we write there.
pub(super) const MANAGED_BY: &str = "gateway.isthmus.io";

/// The most endpoints of one slice, as the built-in controller has it.
const MAX_ENDPOINTS: usize = 100;

/// Which slices there shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mirroring {
    /// None.
    Off,
    /// Those of the Multi-Cluster Services API.
    Import,
    /// Those, of which other clusters' belong to the Service of the same name too.
    Service,
}

/// What a slice is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    cluster: ClusterName,
    family: IpFamily,
    ports: Arc<[EndpointPort]>,
}

/// Whose slices they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) service: &'a ServiceName,
    /// This cluster.
    pub(super) own: &'a ClusterName,
    /// The ServiceImport, which takes its slices along when it goes.
    pub(super) reference: &'a OwnerReference,
}

/// The slices that there shall be, by name.
pub(super) fn slices(
    service: &MergedService,
    mirroring: Mirroring,
    owner: Owner<'_>,
    existing: &BTreeMap<String, EndpointSlice>,
) -> BTreeMap<String, EndpointSlice> {
    let mut wanted = BTreeMap::new();
    if mirroring == Mirroring::Off {
        return wanted;
    }
    let placed = placed(existing);
    let mut used: BTreeSet<String> = BTreeSet::new();
    for (group, endpoints) in groups(service) {
        for (name, endpoints) in place(&group, endpoints, owner, &placed, &mut used) {
            let slice = slice(&name, &group, &endpoints, mirroring, owner);
            wanted.insert(name, slice);
        }
    }
    wanted
}

type Members<'a> = BTreeMap<IpAddr, &'a Endpoint>;

fn groups(service: &MergedService) -> BTreeMap<Group, Members<'_>> {
    let mut groups: BTreeMap<Group, Members<'_>> = BTreeMap::new();
    for (cluster, endpoints) in service.import_endpoints.iter() {
        for (address, endpoint) in endpoints.iter() {
            let group = Group {
                cluster: cluster.clone(),
                family: IpFamily::of(*address),
                ports: Arc::clone(&endpoint.ports),
            };
            groups.entry(group).or_default().insert(*address, endpoint);
        }
    }
    groups
}

/// Which addresses are in which slice.
fn placed(existing: &BTreeMap<String, EndpointSlice>) -> BTreeMap<(&str, IpAddr), &str> {
    let mut placed = BTreeMap::new();
    for (name, slice) in existing {
        let labels = slice.metadata.labels.as_ref();
        let cluster = labels.and_then(|labels| labels.get(SOURCE_CLUSTER_LABEL));
        let addresses = slice.endpoints.iter().flat_map(|e| e.addresses.first());
        for address in addresses.filter_map(|text| text.parse().ok()) {
            let cluster = cluster.map(String::as_str).unwrap_or_default();
            placed.insert((cluster, address), name.as_str());
        }
    }
    placed
}

/// Gives each endpoint of a group its slice: the one that it is in, else one with room, else a new one.
fn place<'a>(
    group: &Group,
    endpoints: Members<'a>,
    owner: Owner<'_>,
    placed: &BTreeMap<(&str, IpAddr), &str>,
    used: &mut BTreeSet<String>,
) -> BTreeMap<String, Members<'a>> {
    let prefix = format!(
        "{}.{}.{}",
        owner.service.name,
        group.cluster,
        family(group.family)
    );
    let mut slices: BTreeMap<String, Members<'a>> = BTreeMap::new();
    let mut rest = Vec::new();
    for (address, endpoint) in endpoints {
        let old = placed.get(&(group.cluster.as_str(), address)).copied();
        // A slice belongs to the group that claims it first: ports may have changed since.
        let old = old.filter(|name| {
            let is_ours = slices.contains_key(*name) || !used.contains(*name);
            let has_room = slices.get(*name).is_none_or(|s| s.len() < MAX_ENDPOINTS);
            is_ours && has_room && name.starts_with(&prefix)
        });
        match old {
            Some(name) => {
                used.insert(name.to_owned());
                slices
                    .entry(name.to_owned())
                    .or_default()
                    .insert(address, endpoint);
            }
            None => rest.push((address, endpoint)),
        }
    }
    for (address, endpoint) in rest {
        let with_room = slices
            .iter()
            .find(|(_, members)| members.len() < MAX_ENDPOINTS);
        let name = match with_room {
            Some((name, _)) => name.clone(),
            None => fresh_name(&prefix, used),
        };
        used.insert(name.clone());
        slices.entry(name).or_default().insert(address, endpoint);
    }
    slices
}

fn fresh_name(prefix: &str, used: &BTreeSet<String>) -> String {
    let mut number = 0_usize;
    loop {
        let name = format!("{prefix}.{number}");
        if !used.contains(&name) {
            return name;
        }
        number += 1;
    }
}

fn family(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "v4",
        IpFamily::V6 => "v6",
    }
}

fn slice(
    name: &str,
    group: &Group,
    members: &Members<'_>,
    mirroring: Mirroring,
    owner: Owner<'_>,
) -> EndpointSlice {
    let is_own = group.cluster == *owner.own;
    let mut labels: BTreeMap<String, String> = [
        (IMPORT_LABEL, owner.service.name.as_str()),
        (SOURCE_CLUSTER_LABEL, group.cluster.as_str()),
        (MANAGED_BY_LABEL, MANAGED_BY),
    ]
    .map(|(label, value)| (label.to_owned(), value.to_owned()))
    .into();
    // This cluster's own endpoints are in the Service's slices already.
    if mirroring == Mirroring::Service && !is_own {
        let service = owner.service.name.to_string();
        labels.insert(SERVICE_NAME_LABEL.to_owned(), service);
    }
    let endpoints = members
        .iter()
        .map(|(address, endpoint)| slice_endpoint(*address, endpoint, is_own));
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(owner.service.namespace.to_string()),
            labels: Some(labels),
            owner_references: Some(vec![owner.reference.clone()]),
            ..ObjectMeta::default()
        },
        address_type: group.family.to_string(),
        endpoints: endpoints.collect(),
        ports: Some(group.ports.iter().map(slice_port).collect()),
    }
}

fn slice_endpoint(address: IpAddr, endpoint: &Endpoint, is_own: bool) -> SliceEndpoint {
    let conditions = EndpointConditions {
        ready: Some(endpoint.conditions.ready),
        serving: Some(endpoint.conditions.serving),
        terminating: Some(endpoint.conditions.terminating),
    };
    // A node's name means something in its own cluster only.
    let node = endpoint.node.as_ref().filter(|_| is_own);
    SliceEndpoint {
        addresses: vec![address.to_string()],
        conditions: Some(conditions),
        hostname: endpoint.hostname.as_ref().map(ToString::to_string),
        node_name: node.map(ToString::to_string),
        zone: endpoint.zone.as_ref().map(ToString::to_string),
        ..SliceEndpoint::default()
    }
}

fn slice_port(port: &EndpointPort) -> SlicePort {
    SlicePort {
        name: Some(
            port.name
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
        protocol: Some(port.protocol.to_string()),
        port: Some(i32::from(port.port)),
        app_protocol: None,
    }
}
