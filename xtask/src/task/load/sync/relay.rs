//! A path between two ends that counts what it carries towards the one that dialled.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Context;
use tokio::net::UdpSocket;

/// The longest datagram.
const DATAGRAM: usize = 65_536;

/// The path.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What was carried towards the end that dialled.
    bytes: AtomicU64,
    is_cut: AtomicBool,
}

impl Relay {
    /// Carries datagrams between whoever speaks and a target, which sees each of them at an address of its own.
    pub(super) async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.context("binding")?);
        let address = near.local_addr().context("finding the address")?;
        let state = Arc::new(State::default());
        tokio::spawn(there(near, target, Arc::clone(&state)));
        Ok(Self { address, state })
    }

    /// Carries nothing until it is healed.
    pub(super) fn cut(&self) {
        self.state.is_cut.store(true, Ordering::Relaxed);
    }

    pub(super) fn heal(&self) {
        self.state.is_cut.store(false, Ordering::Relaxed);
    }

    /// What it has carried towards the end that dialled: the payload of UDP.
    pub(super) fn bytes(&self) -> f64 {
        self.state.bytes.load(Ordering::Relaxed) as f64
    }
}

/// Carries what is said to the target, until the socket fails.
async fn there(near: Arc<UdpSocket>, target: SocketAddr, state: Arc<State>) -> Option<()> {
    let mut buffer = vec![0; DATAGRAM];
    let mut far_by_speaker: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    loop {
        let (length, speaker) = near.recv_from(&mut buffer).await.ok()?;
        if state.is_cut.load(Ordering::Relaxed) {
            continue;
        }
        let far = match far_by_speaker.get(&speaker) {
            Some(far) => Arc::clone(far),
            None => {
                let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.ok()?);
                far.connect(target).await.ok()?;
                let (from, to) = (Arc::clone(&far), Arc::clone(&near));
                tokio::spawn(back(from, to, speaker, Arc::clone(&state)));
                far_by_speaker.insert(speaker, Arc::clone(&far));
                far
            }
        };
        // What is lost is sent again.
        drop(far.send(buffer.get(..length)?).await);
    }
}

/// Carries what is answered to a speaker, until a socket fails.
async fn back(
    far: Arc<UdpSocket>,
    near: Arc<UdpSocket>,
    speaker: SocketAddr,
    state: Arc<State>,
) -> Option<()> {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = far.recv(&mut buffer).await.ok()?;
        if !state.is_cut.load(Ordering::Relaxed) {
            state.bytes.fetch_add(length as u64, Ordering::Relaxed);
            drop(near.send_to(buffer.get(..length)?, speaker).await);
        }
    }
}
