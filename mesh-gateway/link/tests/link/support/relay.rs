//! A path between two ends that can be cut.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    sync::Arc,
};

use tokio::{net::UdpSocket, sync::watch};

/// Passes datagrams on, unless it is cut.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    is_cut: watch::Sender<bool>,
}

impl Relay {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        let (is_cut, cut) = watch::channel(false);
        tokio::spawn(pass_on(socket, target, cut));
        Self { address, is_cut }
    }

    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn heal(&self) {
        self.is_cut.send_replace(false);
    }
}

/// Gives each sender a socket of its own towards the target, so that answers find their way back.
async fn pass_on(socket: Arc<UdpSocket>, target: SocketAddr, cut: watch::Receiver<bool>) {
    let mut upstreams: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut buffer = vec![0; 65536];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        if *cut.borrow() {
            continue;
        }
        let upstream = match upstreams.entry(from) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let upstream = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                upstream.connect(target).await.unwrap();
                let (back, cut) = (Arc::clone(&socket), cut.clone());
                tokio::spawn(pass_back(Arc::clone(&upstream), back, from, cut));
                entry.insert(upstream)
            }
        };
        // The listener may be gone: then the datagram is lost, as datagrams are.
        drop(upstream.send(&buffer[..length]).await);
    }
}

async fn pass_back(
    upstream: Arc<UdpSocket>,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    cut: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 65536];
    loop {
        let Ok(length) = upstream.recv(&mut buffer).await else {
            continue;
        };
        if !*cut.borrow() {
            drop(socket.send_to(&buffer[..length], to).await);
        }
    }
}
