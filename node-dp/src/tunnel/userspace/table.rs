//! The peers of the embedded WireGuard: the protocol's state of each, and who may use which inner address.
//!
//! The protocol itself (handshakes, keys, replay windows, cookies, timers) is gotatun's; here is what it asks of its
//! carrier: whose a datagram is, where a peer is reached, and that a peer sends from its own addresses only.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant, SystemTime},
};

use bytes::BytesMut;
use cluster_registry::node::PublicKey;
use gotatun::{
    noise::TunnResult,
    packet::{Packet, WgKind},
    tun::MtuWatcher,
};
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;
use node_dp_core::tunnel::{offload::InnerPacket, pacing::Pacing};

use super::{
    super::{PeerStats, TunnelDrops},
    identity::{Identity, keepalive},
    outbox::Outbox,
    peer::{Peer, Succession},
};

mod message;
#[cfg(test)]
mod tests;

use message::{note_call, send};

/// How long a session with a former key can last (WireGuard's `REJECT_AFTER_TIME`).
const FORMER_LIFETIME: Duration = Duration::from_secs(180);

/// One change to the table.
pub(super) enum TableChange {
    /// Forget a peer.
    Remove(PublicKey),
    /// Tell what of an existing peer is another.
    Update {
        key: PublicKey,
        endpoint: Option<SocketAddr>,
        allowed_ips: Option<Vec<IpNet>>,
        is_used: Option<bool>,
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
    /// The same of sessions with this node's key before, and until when there can be any.
    former: HashMap<u32, PeerId>,
    former_until: Option<Instant>,
    by_address: IpNetworkTable<PeerId>,
    /// The holder of the address asked for last, which most often is asked for next.
    latest: Option<(IpAddr, Option<PeerId>)>,
    /// The peer whose timers are due next.
    cursor: usize,
    /// When silent peers are called again.
    pacing: Pacing,
    drops: TunnelDrops,
}

impl PeerTable {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            peers: Vec::new(),
            by_key: HashMap::new(),
            by_index: HashMap::new(),
            former: HashMap::new(),
            former_until: None,
            by_address: IpNetworkTable::new(),
            latest: None,
            cursor: 0,
            pacing: Pacing::default(),
            drops: TunnelDrops::default(),
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
                is_used,
            } => {
                self.set_keepalive(key, is_used);
                self.update(key, endpoint, allowed_ips);
            }
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
        self.former.retain(|_, held| *held != id);
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

    fn set_keepalive(&mut self, key: PublicKey, is_used: Option<bool>) {
        let id = self.by_key.get(&key).copied();
        let peer = id.and_then(|id| self.peers.get_mut(id.0)?.as_mut());
        if let (Some(peer), Some(is_used)) = (peer, is_used) {
            peer.protocol.set_persistent_keepalive(keepalive(is_used));
        }
    }

    /// Uses another key: the peers' states with the former take what still comes in their sessions.
    pub(super) fn succeed(&mut self, succession: Succession) {
        self.identity = succession.identity;
        self.former = mem::take(&mut self.by_index);
        self.former_until = Some(Instant::now() + FORMER_LIFETIME);
        for (key, protocol) in succession.protocols {
            let id = self.by_key.get(&key).copied();
            let peer = id.and_then(|id| self.peers.get_mut(id.0)?.as_mut());
            if let Some(peer) = peer {
                peer.forget_former();
                peer.former = Some(mem::replace(&mut peer.protocol, protocol));
                peer.calls = 0;
            }
        }
    }

    /// Forgets the states with a former key once none of its sessions can live.
    fn forget_former(&mut self) {
        if self
            .former_until
            .is_some_and(|until| until <= Instant::now())
        {
            self.former_until = None;
            self.former.clear();
            for peer in self.peers.iter_mut().flatten() {
                peer.forget_former();
            }
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

    /// The peer that a packet for an inner address goes to, which is counted if there is none.
    pub(super) fn recipient(&mut self, address: IpAddr) -> Option<PeerId> {
        let holder = self.holder(address);
        // What every device is sent, to find neighbours, is for nobody.
        if holder.is_none() && !address.is_multicast() {
            self.drops.no_peer += 1;
        }
        holder
    }

    /// Encrypts an inner packet for a peer; without a session it waits for the handshake that this begins.
    pub(super) fn seal(&mut self, id: PeerId, packet: BytesMut, outbox: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        let packet = Packet::from_bytes(packet);
        let message = peer.protocol.handle_outgoing_packet(packet, None);
        if !matches!(message, Some(WgKind::Data(_))) {
            self.drops.no_session += 1;
        }
        if let Some(message) = message {
            note_call(&message, peer, &mut self.pacing);
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
        let (id, is_former) = self.sender(&message)?;
        let peer = self.peers.get_mut(id.0)?.as_mut()?;
        let protocol = if is_former {
            peer.former.as_mut()?
        } else {
            &mut peer.protocol
        };
        match protocol.handle_incoming_packet(message) {
            // Nothing is sent in a session with a former key.
            TunnResult::WriteToNetwork(_) if is_former => None,
            TunnResult::Done | TunnResult::Err(_) => None,
            TunnResult::WriteToNetwork(reply) => {
                peer.endpoint = from;
                peer.note_heard();
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
                if !is_former {
                    peer.note_heard();
                }
                let mut packet = mem::take(packet.buf_mut());
                let inner = InnerPacket::parse(&packet).ok()?;
                if self.holder(inner.source) != Some(id) {
                    self.drops.foreign_source += 1;
                    tracing::trace!(source = %inner.source, %from, "a peer sent from an address that isn't its own");
                    return None;
                }
                packet.truncate(inner.len);
                Some(packet)
            }
        }
    }

    /// Whose a message is, and whether it is of a session with this node's key before.
    fn sender(&self, message: &WgKind) -> Option<(PeerId, bool)> {
        let index = match message {
            WgKind::HandshakeInit(message) => {
                let id = self.by_key.get(&self.identity.initiator(message)?)?;
                return Some((*id, false));
            }
            WgKind::HandshakeResp(message) => message.receiver_idx.get(),
            WgKind::CookieReply(message) => message.receiver_idx.get(),
            WgKind::Data(message) => message.header.receiver_idx.get(),
        };
        let current = self.by_index.get(&index).map(|id| (*id, false));
        let is_data = matches!(message, WgKind::Data(_));
        let former = || self.former.get(&index).map(|id| (*id, true));
        current.or_else(|| is_data.then(former)?)
    }

    /// Looks at the timers of the next so many places, fewer if that takes too long; answers how many it were.
    pub(super) fn tick(&mut self, places: usize, until: Instant, outbox: &mut Outbox) -> usize {
        self.identity.limiter.try_reset_count();
        self.forget_former();
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
                note_call(&message, peer, &mut self.pacing);
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

    pub(super) fn drops(&self) -> TunnelDrops {
        self.drops
    }

    pub(super) fn stats(&self) -> BTreeMap<PublicKey, PeerStats> {
        let now = SystemTime::now();
        let peers = self.peers.iter().flatten();
        peers
            .map(|peer| {
                let age = peer.protocol.stats().0;
                let (rx_bytes, tx_bytes) = peer.bytes();
                let stats = PeerStats {
                    last_handshake: age.and_then(|age| now.checked_sub(age)),
                    rx_bytes,
                    tx_bytes,
                    endpoint: Some(peer.endpoint),
                };
                (peer.key, stats)
            })
            .collect()
    }
}

fn network(prefix: &IpNet) -> ip_network::IpNetwork {
    let prefix = prefix.trunc();
    ip_network::IpNetwork::new_truncate(prefix.addr(), prefix.prefix_len())
        .expect("a prefix of one type is no longer than the other type allows")
}
