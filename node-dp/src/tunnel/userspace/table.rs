//! The peers of the embedded WireGuard: the protocol's state of each, and who may use which inner address.
//!
//! The protocol itself (handshakes, keys, replay windows, cookies, timers) is gotatun's; here is what it asks of its
//! carrier: whose a datagram is, where a peer is reached, and that a peer sends from its own addresses only.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::BytesMut;
use cluster_registry::node::PublicKey;
use gotatun::{
    noise::{
        TimerParams, Tunn, TunnResult, handshake::parse_handshake_anon, index_table::IndexTable,
        rate_limiter::RateLimiter,
    },
    packet::{Packet, WgKind},
    tun::MtuWatcher,
    x25519,
};
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;
use node_dp_core::tunnel::offload::InnerPacket;

use super::{
    super::{
        KEEPALIVE_SECONDS, PeerStats, PrivateKey,
        peers::{Change, PeerConfig},
    },
    outbox::Outbox,
};

/// Until an unanswered handshake is repeated, with the share of it that spreads many peers' repetitions.
///
/// The protocol's five seconds spare a busy responder; one second stays far below the 50 a second at which the kernel's
/// WireGuard begins to ignore a peer.
const HANDSHAKE_RETRY: Duration = Duration::from_secs(1);
const HANDSHAKE_JITTER: Duration = Duration::from_millis(333);

/// Handshakes a second from one address above which cookies are asked for.
const HANDSHAKE_LIMIT: u64 = 100;

/// The node's own side of every peer's state.
#[derive(Clone)]
pub(super) struct Identity {
    secret: x25519::StaticSecret,
    public: x25519::PublicKey,
    limiter: Arc<RateLimiter>,
    indices: IndexTable,
}

/// A peer, made ready apart from the table: its keys take a tenth of a millisecond to compute.
pub(super) struct Peer {
    key: PublicKey,
    protocol: Tunn,
    endpoint: SocketAddr,
    allowed_ips: Vec<IpNet>,
}

/// One change to the table.
pub(super) enum TableChange {
    /// Forget a peer.
    Remove(PublicKey),
    /// Tell an existing peer's endpoint, allowed addresses or both anew.
    Update {
        key: PublicKey,
        endpoint: Option<SocketAddr>,
        allowed_ips: Option<Vec<IpNet>>,
    },
    /// Add a peer.
    Add(Box<Peer>),
}

/// A place in the table; it stays a peer's own as long as the peer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerId(usize);

/// The peers.
pub(super) struct PeerTable {
    identity: Identity,
    peers: Vec<Option<Peer>>,
    by_key: HashMap<PublicKey, PeerId>,
    /// By the number that a peer puts on its datagrams: ours for a handshake or a session.
    by_index: HashMap<u32, PeerId>,
    by_address: IpNetworkTable<PeerId>,
    /// The holder of the address asked for last, which most often is asked for next.
    latest: Option<(IpAddr, Option<PeerId>)>,
    /// The peer whose timers are due next.
    cursor: usize,
}

impl Identity {
    pub(super) fn new(key: &PrivateKey) -> Self {
        let secret = key.secret();
        let public = x25519::PublicKey::from(&secret);
        Self {
            limiter: Arc::new(RateLimiter::new(&public, HANDSHAKE_LIMIT)),
            secret,
            public,
            indices: IndexTable::from_os_rng(),
        }
    }

    /// Makes a change ready for the table.
    pub(super) fn prepare(&self, change: Change) -> TableChange {
        match change {
            Change::Remove(key) => TableChange::Remove(key),
            Change::Update {
                public_key,
                endpoint,
                allowed_ips,
            } => TableChange::Update {
                key: public_key,
                endpoint,
                allowed_ips: allowed_ips.map(|prefixes| prefixes.into_iter().collect()),
            },
            Change::Add(key, config) => TableChange::Add(Box::new(self.peer(key, config))),
        }
    }

    fn peer(&self, key: PublicKey, config: PeerConfig) -> Peer {
        let mut protocol = Tunn::new(
            self.secret.clone(),
            x25519::PublicKey::from(key.0),
            None,
            Some(KEEPALIVE_SECONDS),
            self.indices.clone(),
            Arc::clone(&self.limiter),
        );
        protocol.dangerously_set_timer_params(TimerParams {
            rekey_timeout: HANDSHAKE_RETRY..=HANDSHAKE_RETRY + HANDSHAKE_JITTER,
            ..TimerParams::default()
        });
        Peer {
            key,
            protocol,
            endpoint: config.endpoint,
            allowed_ips: config.allowed_ips.into_iter().collect(),
        }
    }
}

impl PeerTable {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            peers: Vec::new(),
            by_key: HashMap::new(),
            by_index: HashMap::new(),
            by_address: IpNetworkTable::new(),
            latest: None,
            cursor: 0,
        }
    }

    /// How many places there are, of which some may be free.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn apply(&mut self, change: TableChange) {
        self.latest = None;
        match change {
            TableChange::Remove(key) => self.remove(key),
            TableChange::Update {
                key,
                endpoint,
                allowed_ips,
            } => self.update(key, endpoint, allowed_ips),
            TableChange::Add(peer) => self.add(*peer),
        }
    }

    fn add(&mut self, peer: Peer) {
        self.remove(peer.key);
        let free = self.peers.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() - 1
        });
        let id = PeerId(place);
        self.by_key.insert(peer.key, id);
        for prefix in &peer.allowed_ips {
            self.by_address.insert(network(prefix), id);
        }
        if let Some(slot) = self.peers.get_mut(place) {
            *slot = Some(peer);
        }
    }

    fn remove(&mut self, key: PublicKey) {
        let Some(id) = self.by_key.remove(&key) else {
            return;
        };
        self.by_index.retain(|_, held| *held != id);
        if let Some(peer) = self.peers.get_mut(id.0).and_then(Option::take) {
            self.take_addresses(id, &peer.allowed_ips);
        }
    }

    fn update(
        &mut self,
        key: PublicKey,
        endpoint: Option<SocketAddr>,
        allowed_ips: Option<Vec<IpNet>>,
    ) {
        let Some(id) = self.by_key.get(&key).copied() else {
            return;
        };
        let Some(peer) = self.peers.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        if let Some(endpoint) = endpoint {
            peer.endpoint = endpoint;
        }
        let Some(allowed_ips) = allowed_ips else {
            return;
        };
        let former = mem::replace(&mut peer.allowed_ips, allowed_ips.clone());
        self.take_addresses(id, &former);
        for prefix in &allowed_ips {
            self.by_address.insert(network(prefix), id);
        }
    }

    /// Takes prefixes from a peer, but for those that another has got since.
    fn take_addresses(&mut self, id: PeerId, prefixes: &[IpNet]) {
        for prefix in prefixes {
            let network = network(prefix);
            if self.by_address.exact_match(network) == Some(&id) {
                self.by_address.remove(network);
            }
        }
    }

    /// The peer that an inner address belongs to, by the longest prefix.
    pub(super) fn holder(&mut self, address: IpAddr) -> Option<PeerId> {
        if let Some((latest, holder)) = self.latest
            && latest == address
        {
            return holder;
        }
        let holder = self.by_address.longest_match(address).map(|(_, id)| *id);
        self.latest = Some((address, holder));
        holder
    }

    /// Encrypts an inner packet for a peer; without a session it waits for the handshake that this begins.
    pub(super) fn seal(&mut self, id: PeerId, packet: BytesMut, outbox: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        let packet = Packet::from_bytes(packet);
        if let Some(message) = peer.protocol.handle_outgoing_packet(packet, None) {
            send(message, id, peer.endpoint, &mut self.by_index, outbox);
        }
    }

    /// Takes a datagram off the network; gives the inner packet that it carries, if it carries one that may pass.
    pub(super) fn open(
        &mut self,
        datagram: BytesMut,
        from: SocketAddr,
        mtu: u16,
        outbox: &mut Outbox,
    ) -> Option<BytesMut> {
        let datagram = Packet::from_bytes(datagram);
        let message = match self.identity.limiter.verify_packet(from, datagram) {
            Ok(message) => message,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                outbox.push(cookie.into(), from);
                return None;
            }
            Err(_) => return None,
        };
        let id = self.sender(&message)?;
        let peer = self.peers.get_mut(id.0)?.as_mut()?;
        match peer.protocol.handle_incoming_packet(message) {
            TunnResult::Done | TunnResult::Err(_) => None,
            TunnResult::WriteToNetwork(reply) => {
                peer.endpoint = from;
                send(reply, id, from, &mut self.by_index, outbox);
                // What waited for the session goes out with its first message.
                let mut mtu = MtuWatcher::new(mtu);
                for message in peer.protocol.get_queued_packets(&mut mtu) {
                    send(message, id, from, &mut self.by_index, outbox);
                }
                None
            }
            TunnResult::WriteToTunnel(mut packet) => {
                peer.endpoint = from;
                let mut packet = mem::take(packet.buf_mut());
                let inner = InnerPacket::parse(&packet).ok()?;
                if self.holder(inner.source) != Some(id) {
                    tracing::trace!(source = %inner.source, %from, "a peer sent from an address that isn't its own");
                    return None;
                }
                packet.truncate(inner.len);
                Some(packet)
            }
        }
    }

    fn sender(&self, message: &WgKind) -> Option<PeerId> {
        let index = match message {
            WgKind::HandshakeInit(message) => {
                let Identity { secret, public, .. } = &self.identity;
                let half = parse_handshake_anon(secret, public, message).ok()?;
                return self
                    .by_key
                    .get(&PublicKey(half.peer_static_public))
                    .copied();
            }
            WgKind::HandshakeResp(message) => message.receiver_idx.get(),
            WgKind::CookieReply(message) => message.receiver_idx.get(),
            WgKind::Data(message) => message.header.receiver_idx.get(),
        };
        self.by_index.get(&index).copied()
    }

    /// Looks at the timers of the next so many places, fewer if that takes too long; answers how many it were.
    pub(super) fn tick(&mut self, places: usize, until: Instant, outbox: &mut Outbox) -> usize {
        self.identity.limiter.try_reset_count();
        let mut seen = 0;
        while seen < places.min(self.peers.len()) && (seen == 0 || Instant::now() < until) {
            seen += 1;
            let id = PeerId(self.cursor % self.peers.len());
            self.cursor = id.0 + 1;
            let Some(peer) = self.peers.get_mut(id.0).and_then(Option::as_mut) else {
                continue;
            };
            // An error says that a handshake was given up, which the next packet for the peer begins anew.
            if let Ok(Some(message)) = peer.protocol.update_timers() {
                send(message, id, peer.endpoint, &mut self.by_index, outbox);
            }
        }
        if self.cursor >= self.peers.len() {
            self.cursor = 0;
            let indices = &self.identity.indices;
            self.by_index.retain(|index, _| indices.in_use(*index));
        }
        seen
    }

    pub(super) fn stats(&self) -> BTreeMap<PublicKey, PeerStats> {
        let now = SystemTime::now();
        let peers = self.peers.iter().flatten();
        peers
            .map(|peer| {
                let (age, tx_bytes, rx_bytes, ..) = peer.protocol.stats();
                let stats = PeerStats {
                    last_handshake: age.and_then(|age| now.checked_sub(age)),
                    rx_bytes: rx_bytes as u64,
                    tx_bytes: tx_bytes as u64,
                    endpoint: Some(peer.endpoint),
                };
                (peer.key, stats)
            })
            .collect()
    }
}

/// Puts a message on its way, and notes the number that answers to a handshake will carry.
fn send(
    message: WgKind,
    id: PeerId,
    to: SocketAddr,
    by_index: &mut HashMap<u32, PeerId>,
    outbox: &mut Outbox,
) {
    match &message {
        WgKind::HandshakeInit(message) => {
            by_index.insert(message.sender_idx.get(), id);
        }
        WgKind::HandshakeResp(message) => {
            by_index.insert(message.sender_idx.get(), id);
        }
        WgKind::CookieReply(_) | WgKind::Data(_) => {}
    }
    outbox.push(message.into(), to);
}

fn network(prefix: &IpNet) -> ip_network::IpNetwork {
    let prefix = prefix.trunc();
    ip_network::IpNetwork::new_truncate(prefix.addr(), prefix.prefix_len())
        .expect("a prefix of one type is no longer than the other type allows")
}
