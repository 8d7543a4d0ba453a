//! A prober inside a node's namespace.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cluster_registry::name::{ClusterName, NodeName};
use node_dp_core::{
    probe::{ProbeConfig, Prober},
    verdict::Path,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::net::Node;
use crate::probe::{Paths, ProbeSocket, ProbeTask};

const PORT: u16 = 4701;

/// A running prober; it stops when dropped.
pub(super) struct Probing {
    paths: watch::Receiver<Paths>,
    shutdown: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Probing {
    /// Probes the other node every 50 ms, or only answers.
    pub(super) fn start(node: &Node, other: Option<&Node>) -> Self {
        let address = (node.probe_address(), PORT).into();
        let target = other.map(|other| (key(), (other.probe_address(), PORT).into()));
        let (found, paths) = watch::channel(Paths::new());
        let shutdown = CancellationToken::new();
        let is_over = shutdown.clone();
        let thread = node.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let config = ProbeConfig {
                    interval: Duration::from_millis(50),
                    multiplier: 3,
                };
                let (_sockets, sockets) = tokio::sync::mpsc::channel(1);
                let (_source, targets) = watch::channel(Arc::new(BTreeMap::from_iter(target)));
                let task = ProbeTask {
                    socket: ProbeSocket::bind(address, Some("isthmus0")).unwrap(),
                    former: None,
                    sockets,
                    prober: Prober::new(config, key().1),
                    targets,
                    paths: found,
                    shutdown: is_over,
                };
                task.run().await;
            });
        });
        Self {
            paths,
            shutdown,
            thread: Some(thread),
        }
    }

    /// Waits until the path to the other's cluster is so.
    pub(super) fn wait_for(&mut self, path: Path) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let found = self.paths.borrow().get(&key().0).map(|status| status.path);
            if found == Some(path) {
                return;
            }
            assert!(Instant::now() < deadline, "{found:?} instead of {path:?}");
            thread::yield_now();
        }
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn key() -> (ClusterName, NodeName) {
    let cluster = ClusterName::parse("other").unwrap();
    (cluster, NodeName::parse("node").unwrap())
}
