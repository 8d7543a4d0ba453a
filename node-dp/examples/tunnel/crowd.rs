//! Many peers in one process, without devices: they answer handshakes and keep in touch, and send nothing else.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::BytesMut;
use cluster_registry::node::PublicKey;
use gotatun::{
    noise::{Tunn, TunnResult, index_table::IndexTable, rate_limiter::RateLimiter},
    packet::Packet,
    x25519,
};
use node_dp::tunnel::PrivateKey;
use tokio::{net::UdpSocket, task::JoinSet, time::interval};

/// The members are spread over so many sockets, as nodes are at addresses of their own.
const SOCKETS: u32 = 50;

/// The first socket's port; the others' follow.
const FIRST_PORT: u16 = 20_000;

/// How often a member's timers are looked at.
const TICK: Duration = Duration::from_millis(500);

/// More than any member is asked at once.
const HANDSHAKES_A_SECOND: u64 = 10_000;

/// The key that a member has, by which both ends know it.
pub(crate) fn private_key(number: u32) -> PrivateKey {
    PrivateKey::from_bytes(secret(number))
}

/// Where a member listens.
pub(crate) fn endpoint(address: std::net::IpAddr, number: u32) -> anyhow::Result<SocketAddr> {
    let port = u16::try_from(number % SOCKETS)? + FIRST_PORT;
    Ok(SocketAddr::new(address, port))
}

fn secret(number: u32) -> [u8; 32] {
    let mut bytes = [0x42; 32];
    // Not in the first byte, of which the key loses three bits.
    bytes[4..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// One peer of the crowd.
struct Member {
    protocol: Tunn,
    limiter: Arc<RateLimiter>,
}

/// Answers one device for so many peers, for ever.
pub(crate) async fn run(count: u32, device: PublicKey) -> anyhow::Result<()> {
    let indices = IndexTable::from_os_rng();
    let mut tasks = JoinSet::new();
    for place in 0..SOCKETS.min(count) {
        let to = endpoint("0.0.0.0".parse()?, place)?;
        let socket = UdpSocket::bind(to).await.context("listening")?;
        let numbers = (place..count).step_by(usize::try_from(SOCKETS)?);
        let members = numbers.map(|number| Member::new(number, device, indices.clone()));
        tasks.spawn(serve(socket, members.collect()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

impl Member {
    fn new(number: u32, device: PublicKey, indices: IndexTable) -> Self {
        let secret = x25519::StaticSecret::from(secret(number));
        let public = x25519::PublicKey::from(&secret);
        let limiter = Arc::new(RateLimiter::new(&public, HANDSHAKES_A_SECOND));
        let device = x25519::PublicKey::from(device.0);
        Self {
            protocol: Tunn::new(secret, device, None, None, indices, Arc::clone(&limiter)),
            limiter,
        }
    }

    /// What it makes of a datagram; `None` if that is for another.
    fn take(&mut self, datagram: &[u8], from: SocketAddr) -> Option<TunnResult> {
        let packet = Packet::from_bytes(BytesMut::from(datagram));
        let message = self.limiter.verify_packet(from, packet).ok()?;
        match self.protocol.handle_incoming_packet(message) {
            TunnResult::Err(_) => None,
            result @ (TunnResult::Done
            | TunnResult::WriteToNetwork(_)
            | TunnResult::WriteToTunnel(_)) => Some(result),
        }
    }
}

async fn serve(socket: UdpSocket, mut members: Vec<Member>) -> anyhow::Result<()> {
    let mut buffer = [0; 2048];
    let mut tick = interval(TICK);
    let mut device = None;
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (len, from) = received.context("receiving")?;
                device = Some(from);
                let datagram = buffer.get(..len).unwrap_or_default();
                let taken = members.iter_mut().find_map(|member| member.take(datagram, from));
                if let Some(TunnResult::WriteToNetwork(reply)) = taken {
                    socket.send_to(&Packet::from(reply), from).await.context("answering")?;
                }
            }
            _ = tick.tick() => {
                let Some(to) = device else { continue };
                for member in &mut members {
                    if let Ok(Some(message)) = member.protocol.update_timers() {
                        socket.send_to(&Packet::from(message), to).await.context("sending")?;
                    }
                }
            }
        }
    }
}
