//! The embedded WireGuard: gotatun between a TUN device and a UDP socket, for kernels without their own.
//!
//! After a cut, sessions younger than three minutes carry on by themselves. Older ones need a handshake, which the
//! protocol repeats every five seconds; here every second, as a healed path should be used at once.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use cluster_registry::node::PublicKey;
use gotatun::{
    device::{
        Device, DeviceBuilder, Peer,
        configure::{DeviceWrite, PeerMut},
    },
    noise::TimerParams,
    x25519,
};
use ipnet::IpNet;
use ipnetwork::IpNetwork;
use node_dp_core::tunnel::WantedPeer;
use tokio::sync::watch;

use super::{
    KEEPALIVE_SECONDS, PeerStats, TunnelConfig,
    peers::{Change, PeerConfig, Peers, changes, wanted_peers},
    tun::{OpenTunError, Tun},
    udp::Factory,
};

/// Until an unanswered handshake is repeated, with the share of it that spreads many peers' repetitions.
///
/// The protocol's five seconds spare a busy responder; one second stays far below the 50 a second at which the kernel's
/// WireGuard begins to ignore a peer.
const HANDSHAKE_RETRY: Duration = Duration::from_secs(1);
const HANDSHAKE_JITTER: Duration = Duration::from_millis(333);

/// Why the embedded WireGuard is not there.
#[derive(Debug, thiserror::Error)]
pub enum UserspaceError {
    /// No TUN device.
    #[error("there is no TUN device")]
    Tun(#[from] OpenTunError),
    /// The socket could not be bound.
    #[error("cannot listen on UDP port {port}")]
    Listen {
        /// The port.
        port: u16,
        /// What went wrong.
        #[source]
        source: gotatun::device::Error,
    },
    /// The device did not take its peers.
    #[error("cannot change the peers")]
    Configure(#[source] gotatun::device::Error),
}

type Transports = (Factory, Tun, Tun);

/// An open embedded device.
pub(super) struct Userspace {
    device: Device<Transports>,
    public_key: PublicKey,
    peers: Peers,
    is_lost: watch::Receiver<bool>,
}

impl Userspace {
    pub(super) async fn open(config: &TunnelConfig) -> Result<Self, UserspaceError> {
        let tun = Tun::create(&config.device, config.mtu)?;
        let is_lost = tun.is_lost();
        let listening = |source| UserspaceError::Listen {
            port: config.port,
            source,
        };
        let device = DeviceBuilder::new()
            .with_udp(Factory)
            .with_ip(tun)
            .with_private_key(config.private_key.secret())
            .with_listen_port(config.port)
            .build()
            .await
            .map_err(listening)?;
        // A device that is built without peers listens only after its peers were cleared once.
        device.clear_peers().await.map_err(listening)?;
        Ok(Self {
            device,
            public_key: config.private_key.public_key(),
            peers: Peers::new(),
            is_lost,
        })
    }

    pub(super) async fn configure(
        &mut self,
        wanted: &BTreeMap<PublicKey, WantedPeer>,
    ) -> Result<(), UserspaceError> {
        let wanted = wanted_peers(wanted, self.public_key);
        let changes = changes(&self.peers, &wanted);
        if changes.is_empty() {
            return Ok(());
        }
        self.device
            .write(async |device| {
                for change in &changes {
                    perform(device, change).await;
                }
            })
            .await
            .map_err(UserspaceError::Configure)?;
        self.peers = wanted;
        Ok(())
    }

    pub(super) async fn stats(&self) -> BTreeMap<PublicKey, PeerStats> {
        let now = SystemTime::now();
        let peers = self.device.peers().await;
        peers
            .into_iter()
            .map(|found| {
                let stats = PeerStats {
                    last_handshake: found
                        .stats
                        .last_handshake
                        .and_then(|age| now.checked_sub(age)),
                    rx_bytes: found.stats.rx_bytes as u64,
                    tx_bytes: found.stats.tx_bytes as u64,
                    endpoint: found.peer.endpoint,
                };
                (PublicKey(found.peer.public_key.to_bytes()), stats)
            })
            .collect()
    }

    pub(super) async fn lost(&self) {
        let mut is_lost = self.is_lost.clone();
        // The sender goes only with the device itself, which is as lost as can be.
        is_lost.wait_for(|is_lost| *is_lost).await.ok();
    }

    pub(super) async fn close(self) {
        self.device.stop().await;
    }
}

async fn perform(device: &mut DeviceWrite<'_, Transports>, change: &Change) {
    match change {
        Change::Remove(key) => {
            device.remove_peer(&key.0.into()).await;
        }
        Change::Update {
            public_key,
            endpoint,
            allowed_ips,
        } => {
            let update = |peer: &mut PeerMut| {
                if endpoint.is_some() {
                    peer.set_endpoint(*endpoint);
                }
                if let Some(allowed_ips) = allowed_ips {
                    peer.clear_allowed_ips();
                    peer.add_allowed_ips(allowed_ips.iter().map(network));
                }
            };
            device.modify_peer(&public_key.0.into(), update).await;
        }
        Change::Add(key, config) => {
            device.add_peer(new_peer(*key, config));
        }
    }
}

fn new_peer(key: PublicKey, config: &PeerConfig) -> Peer {
    let timers = TimerParams {
        rekey_timeout: HANDSHAKE_RETRY..=HANDSHAKE_RETRY + HANDSHAKE_JITTER,
        ..TimerParams::default()
    };
    let mut peer = Peer::new(x25519::PublicKey::from(key.0))
        .with_endpoint(config.endpoint)
        .with_allowed_ips(config.allowed_ips.iter().map(network))
        .dangerously_with_timer_params(timers);
    peer.keepalive = Some(KEEPALIVE_SECONDS);
    peer
}

fn network(prefix: &IpNet) -> IpNetwork {
    let prefix = prefix.trunc();
    IpNetwork::new(prefix.addr(), prefix.prefix_len())
        .expect("a prefix of one type is no longer than the other type allows")
}
