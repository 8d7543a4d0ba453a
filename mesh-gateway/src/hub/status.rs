//! Writes down what `/v1/status` shows, from the hub's own state.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cluster_registry::{
    link::LinkStatus,
    name::{ClusterName, ServiceName},
    registry::{PeerSummary, Registry},
    service::{ClusterAffinity, Service as Definition, ServicePort},
    store::Cursor,
    view::MergedService,
};
use isthmus_daemon::status::{
    BackendCount, NodeSession, Peer as PeerStatus, PeerState, Port, Problem as ProblemStatus,
    Replica, Service, StorePosition,
};
use mesh_gateway_core::instance::Instance;
use mesh_link::seat::{Held, Seat};

use super::{
    nodes::Nodes,
    peers::{Peer, Peers},
};

/// How the links do.
///
/// While `may_await` is set, a peer that was not heard yet is awaited.
pub(super) fn links(
    registry: &Registry,
    peers: &Peers,
    may_await: bool,
) -> BTreeMap<ClusterName, LinkStatus> {
    let links = peers.iter().map(|(name, peer)| {
        let summary = registry.peer_summary(name).unwrap_or_default();
        let link = LinkStatus {
            connected: peer.state == PeerState::Connected,
            since: peer.since,
            reason: peer.reason.clone().or_else(|| shortfall(&summary, peer)),
            synced: peer.holding.has_said_all(),
            awaited: may_await && !peer.holding.was_heard(),
            accepted: summary.accepted,
            refused: refused(&summary, peer),
            certificate_expires: peer.certificate_expires,
        };
        (name.clone(), link)
    });
    links.collect()
}

/// The refused and the unreadable updates, by reason.
fn refused(summary: &PeerSummary, peer: &Peer) -> BTreeMap<&'static str, u64> {
    let mut refused = BTreeMap::new();
    for (reason, count) in summary.refused.iter().chain(&peer.unreadable) {
        *refused.entry(*reason).or_default() += count;
    }
    refused
}

pub(super) fn peer(registry: &Registry, name: &ClusterName, peer: &Peer) -> PeerStatus {
    let summary = registry.peer_summary(name).unwrap_or_default();
    let refused = refused(&summary, peer).into_iter();
    let refused = refused
        .map(|(reason, count)| (reason.to_owned(), count))
        .collect();
    PeerStatus {
        cluster: name.to_string(),
        origin: peer.origin.label().to_owned(),
        addresses: peer
            .spec
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect(),
        synced: peer.holding.has_said_all(),
        certificate_expires_unix_s: peer.certificate_expires.map(|at| unix_ms(at) / 1000),
        state: peer.state,
        since_unix_ms: unix_ms(peer.since),
        address: peer.seat.address,
        rtt_us: peer.seat.rtt().map(micros),
        reason: peer.reason.clone().or_else(|| shortfall(&summary, peer)),
        accepted: summary.accepted,
        refused,
        withheld: number(summary.withheld),
        services: number(summary.services),
        endpoints: number(summary.endpoints),
        sessions: peer.seat.sessions,
        replicas: replicas(&peer.seat),
    }
}

/// The sessions that are up; the first is the lead.
fn replicas(seat: &Seat) -> Vec<Replica> {
    let replica = |(at, (held, instance)): (usize, (&Held, Option<&Instance>))| Replica {
        replica: instance.map(|i| i.replica().to_owned()),
        instance: instance.map(|i| i.id().to_string()),
        address: Some(held.address),
        rtt_us: held.rtt.map(micros),
        lead: at == 0,
    };
    seat.iter().enumerate().map(replica).collect()
}

/// Why not all that a peer shares is taken.
fn shortfall(summary: &PeerSummary, peer: &Peer) -> Option<String> {
    if let Some(kind) = summary.over_limit {
        let reason = format!(
            "degraded: it shares more {kind} than its link's limit; what was taken before stays"
        );
        return Some(reason);
    }
    if peer.is_slowed {
        let most = peer.spec.limits.updates_per_second;
        return Some(format!(
            "degraded: it says more than the {most} updates a second of its link's limit, and is read no faster"
        ));
    }
    let withheld = summary.withheld;
    (withheld > 0).then(|| format!("{withheld} of its resources are withheld; `refused` says why"))
}

pub(super) fn nodes(nodes: &Nodes) -> Vec<NodeSession> {
    let session = |(name, node): (&_, &super::nodes::Node)| NodeSession {
        node: ToString::to_string(name),
        connected: node.seat.is_taken(),
        address: node.seat.address,
        rtt_us: node.seat.rtt().map(micros),
    };
    nodes.iter().map(session).collect()
}

pub(super) fn service(name: &ServiceName, merged: &MergedService) -> Service {
    let foreign = merged.remote.values().next();
    let definition = merged.local.as_ref().or(foreign).map(AsRef::as_ref);
    let backends = merged.endpoints.iter().map(|(cluster, endpoints)| {
        let ready = endpoints.values().filter(|e| e.conditions.ready).count();
        let count = BackendCount {
            ready: number(ready),
            total: number(endpoints.len()),
        };
        (cluster.to_string(), count)
    });
    Service {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        global: merged.is_global(),
        affinity: affinity(definition).to_owned(),
        cluster_ips: merged
            .local
            .as_ref()
            .map_or_else(Vec::new, |local| local.cluster_ips.clone()),
        ports: definition.map_or_else(Vec::new, |d| d.ports.iter().map(port).collect()),
        backends: backends.collect(),
    }
}

pub(super) fn problem(problem: &cluster_registry_kube::source::Problem) -> ProblemStatus {
    ProblemStatus {
        file: problem.file.clone(),
        document: problem.document,
        reason: problem.reason.clone(),
    }
}

/// The imports that have no address.
pub(super) fn import_problems(registry: &Registry) -> impl Iterator<Item = ProblemStatus> {
    let problems = registry.import_problems().iter();
    problems.map(|(name, error)| ProblemStatus {
        file: format!("import of {name}"),
        document: 0,
        reason: error.to_string(),
    })
}

pub(super) fn position(cursor: Cursor) -> StorePosition {
    StorePosition {
        epoch: cursor.epoch.0,
        revision: cursor.revision.0,
    }
}

/// A time in whole milliseconds since 1970; a clock before that counts as 1970.
pub(super) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn affinity(definition: Option<&Definition>) -> &'static str {
    match definition.map(|d| d.sharing.affinity).unwrap_or_default() {
        ClusterAffinity::None => "none",
        ClusterAffinity::Local => "local",
        ClusterAffinity::Remote => "remote",
    }
}

fn port(port: &ServicePort) -> Port {
    Port {
        name: port.name.as_ref().map(ToString::to_string),
        protocol: port.protocol.to_string(),
        port: port.port,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
