//! What the tunnel says of itself: of each node at the other ends, and of each cluster.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use cluster_registry::node::PublicKey;
use isthmus_daemon::status;
use node_dp_core::tunnel::{TunnelPlan, WantedPeer};

use crate::{
    probe::Paths,
    status::micros,
    tunnel::{PeerStats, Tunnel},
};

/// The status of an open tunnel.
pub(super) async fn of(tunnel: &Tunnel, plan: &TunnelPlan, paths: &Paths) -> status::Tunnel {
    let stats = match tunnel.stats().await {
        Ok(stats) => stats,
        Err(error) => {
            tracing::warn!(%error, "the tunnel's peers cannot be read");
            BTreeMap::new()
        }
    };
    let peers: Vec<_> = plan
        .peers
        .values()
        .map(|peer| peer_status(peer, &stats))
        .collect();
    status::Tunnel {
        implementation: tunnel.implementation().to_string(),
        reason: tunnel.reason().to_owned(),
        device: tunnel.device().to_owned(),
        public_key: tunnel.public_key().to_string(),
        port: tunnel.port(),
        clusters: clusters(&peers, paths),
        peers,
    }
}

fn peer_status(peer: &WantedPeer, stats: &BTreeMap<PublicKey, PeerStats>) -> status::TunnelPeer {
    // While a key gives way to another, either may be the one that is used.
    let keys = [Some(peer.public_key), peer.next_public_key];
    let seen: Vec<_> = keys
        .into_iter()
        .flatten()
        .filter_map(|key| stats.get(&key))
        .collect();
    let latest = seen.iter().max_by_key(|stats| stats.last_handshake);
    status::TunnelPeer {
        cluster: peer.cluster.to_string(),
        node: peer.node.to_string(),
        endpoint: latest
            .and_then(|stats| stats.endpoint)
            .or(Some(peer.endpoint)),
        allowed_ips: peer.allowed_ips.iter().map(ToString::to_string).collect(),
        last_handshake_unix_s: latest
            .and_then(|stats| stats.last_handshake)
            .and_then(unix_seconds),
        rx_bytes: seen.iter().map(|stats| stats.rx_bytes).sum(),
        tx_bytes: seen.iter().map(|stats| stats.tx_bytes).sum(),
    }
}

/// The peers added up, with what the probes measure.
fn clusters(peers: &[status::TunnelPeer], paths: &Paths) -> Vec<status::TunnelCluster> {
    let mut clusters: BTreeMap<&str, status::TunnelCluster> = BTreeMap::new();
    for peer in peers {
        let cluster = clusters.entry(&peer.cluster).or_default();
        cluster.peers += 1;
        cluster.rx_bytes += peer.rx_bytes;
        cluster.tx_bytes += peer.tx_bytes;
        let latest = cluster
            .last_handshake_unix_s
            .max(peer.last_handshake_unix_s);
        cluster.last_handshake_unix_s = latest;
    }
    for (name, path) in paths {
        if let Some(cluster) = clusters.get_mut(name.as_str()) {
            cluster.rtt_us = path.rtt.map(micros);
            cluster.loss_per_mille = path.loss_per_mille;
        }
    }
    let named = clusters.into_iter().map(|(name, cluster)| {
        let cluster_name = name.to_owned();
        status::TunnelCluster {
            cluster: cluster_name,
            ..cluster
        }
    });
    named.collect()
}

fn unix_seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster_registry::name::ClusterName;
    use node_dp_core::verdict::Path;

    use super::*;
    use crate::probe::PathStatus;

    #[test]
    fn a_clusters_tunnels_are_added_up_beside_what_its_probes_measure() {
        let peers = [
            peer("west", 100, Some(7)),
            peer("west", 23, None),
            peer("north", 1, None),
        ];
        let west = PathStatus {
            path: Path::Good,
            rtt: Some(Duration::from_micros(1500)),
            loss_per_mille: Some(31),
        };
        let paths = Paths::from([(ClusterName::parse("west").unwrap(), west)]);

        let clusters = clusters(&peers, &paths);

        assert_eq!(clusters[0].cluster, "north");
        assert_eq!((clusters[0].peers, clusters[0].rtt_us), (1, None));
        let west = &clusters[1];
        assert_eq!((west.peers, west.rx_bytes, west.tx_bytes), (2, 123, 246));
        assert_eq!(west.last_handshake_unix_s, Some(7));
        assert_eq!((west.rtt_us, west.loss_per_mille), (Some(1500), Some(31)));
    }

    fn peer(cluster: &str, bytes: u64, handshake: Option<u64>) -> status::TunnelPeer {
        status::TunnelPeer {
            cluster: cluster.to_owned(),
            last_handshake_unix_s: handshake,
            rx_bytes: bytes,
            tx_bytes: 2 * bytes,
            ..status::TunnelPeer::default()
        }
    }
}
