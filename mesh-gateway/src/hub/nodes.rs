//! The nodes of this cluster: each may announce its own tunnel end, and nothing else.

use std::collections::BTreeMap;

use cluster_registry::{
    name::{ClusterName, NodeName},
    registry::Registry,
    resource::{Resource, ResourceId},
};
use mesh_gateway_core::replicas::Dialled;
use mesh_link::{
    event::{PeerEvent, Report, Update},
    seat::Seat,
};

/// A node's agent.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) seat: Seat,
    /// During a snapshot, whether it has announced its tunnel end in it.
    has_said_tunnel: Option<bool>,
    /// Whether it has said all that it has to say.
    was_heard: bool,
}

/// The nodes that have had a session, by name.
pub(super) type Nodes = BTreeMap<NodeName, Node>;

/// Takes what a node's session reports.
pub(super) fn handle_report(
    nodes: &mut Nodes,
    registry: &mut Registry,
    cluster: &ClusterName,
    name: &NodeName,
    report: Report,
) {
    let node = nodes.entry(name.clone()).or_default();
    let session = report.session;
    let is_current = node.seat.is_led_by(session);
    match report.event {
        PeerEvent::Up {
            address,
            handle,
            resumed: _,
            instance,
            certificate_expires: _,
        } => {
            let process = (instance, Dialled::There);
            node.seat.take(session, process, address, handle);
        }
        PeerEvent::Down { .. } => {
            node.seat.leave(session);
        }
        PeerEvent::SnapshotBegin(_) if is_current => node.has_said_tunnel = Some(false),
        PeerEvent::Updates(updates) if is_current => {
            for update in updates {
                apply(node, registry, cluster, name, update);
            }
        }
        PeerEvent::SnapshotEnd if is_current => {
            node.was_heard = true;
            if node.has_said_tunnel.take() == Some(false) {
                registry.apply_tunnel(name, None, None);
            }
        }
        PeerEvent::Subscribed { .. } if is_current => node.has_said_tunnel = None,
        PeerEvent::Rtt(rtt) => node.seat.note_rtt(session, rtt),
        PeerEvent::Refused(refusal) if is_current => {
            tracing::warn!(node = %name, reason = refusal.label(), "an agent's update is refused");
        }
        PeerEvent::Subscribed { .. }
        | PeerEvent::Slowed(_)
        | PeerEvent::Compare { .. }
        | PeerEvent::SnapshotBegin(_)
        | PeerEvent::Updates(_)
        | PeerEvent::SnapshotEnd
        | PeerEvent::Refused(_)
        | PeerEvent::Progress(_)
        | PeerEvent::Unreachable { .. } => {}
    }
}

/// Whether all nodes that the source knows have said what they have to say.
pub(super) fn are_heard(nodes: &Nodes, registry: &Registry, cluster: &ClusterName) -> bool {
    let ids = registry.feed().iter_of(cluster).map(|(key, _)| key.id);
    // Nodes sort before what there is more of.
    let others = ids.skip_while(|id| *id == ResourceId::Cluster);
    let mut names = others.map_while(|id| match id {
        ResourceId::Node(name) => Some(name),
        ResourceId::Cluster
        | ResourceId::Tunnel(_)
        | ResourceId::Namespace(_)
        | ResourceId::Import(_)
        | ResourceId::Service(_)
        | ResourceId::Endpoint(..) => None,
    });
    names.all(|name| nodes.get(&name).is_some_and(|node| node.was_heard))
}

fn apply(
    node: &mut Node,
    registry: &mut Registry,
    cluster: &ClusterName,
    name: &NodeName,
    update: Update,
) {
    let is_own =
        update.key.cluster == *cluster && update.key.id == ResourceId::Tunnel(name.clone());
    let tunnel = match update.value {
        Some(Resource::Tunnel(tunnel)) if is_own => Some(tunnel),
        None if is_own => None,
        Some(_) | None => {
            tracing::warn!(node = %name, key = ?update.key, "an agent may announce its own tunnel end only");
            return;
        }
    };
    if let Some(has_said) = &mut node.has_said_tunnel {
        *has_said = true;
    }
    tracing::debug!(node = %name, ?tunnel, "tunnel end announced");
    registry.apply_tunnel(name, tunnel, update.trace);
}
