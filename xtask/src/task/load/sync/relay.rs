//! A path between two ends that counts what it carries towards the one that dialled.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context;
use tokio::net::UdpSocket;

/// The longest datagram.
const DATAGRAM: usize = 65_536;

/// The path.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Relay {
    /// Carries datagrams between whoever speaks last and a target.
    pub(super) async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.context("binding")?);
        let address = near.local_addr().context("finding the address")?;
        let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.context("binding")?);
        far.connect(target).await.context("connecting")?;
        let bytes = Arc::new(AtomicU64::new(0));
        let (speaker_tx, speaker) = tokio::sync::watch::channel(address);
        let (near_in, far_out) = (Arc::clone(&near), Arc::clone(&far));
        tokio::spawn(async move {
            let mut buffer = vec![0; DATAGRAM];
            while let Ok((length, from)) = near_in.recv_from(&mut buffer).await {
                speaker_tx.send_replace(from);
                // What is lost is sent again.
                drop(far_out.send(buffer.get(..length).unwrap_or_default()).await);
            }
        });
        let counted = Arc::clone(&bytes);
        tokio::spawn(async move {
            let mut buffer = vec![0; DATAGRAM];
            while let Ok(length) = far.recv(&mut buffer).await {
                counted.fetch_add(length as u64, Ordering::Relaxed);
                let to = *speaker.borrow();
                drop(
                    near.send_to(buffer.get(..length).unwrap_or_default(), to)
                        .await,
                );
            }
        });
        Ok(Self { address, bytes })
    }

    /// What it has carried towards the end that dialled: the payload of UDP.
    pub(super) fn bytes(&self) -> f64 {
        self.bytes.load(Ordering::Relaxed) as f64
    }
}
