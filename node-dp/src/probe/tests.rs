//! Probers over the loopback.

use std::{future::Future, net::Ipv6Addr};

use cluster_registry::name::NodeName;
use node_dp_core::probe::ProbeConfig;

use super::*;

#[tokio::test]
async fn two_agents_find_the_path_between_them_good() {
    let east = Agent::start("east");
    let mut west = Agent::start("west");

    west.targets.send_replace(east.as_target());

    let status = within(west.path_becomes(&east, Path::Good)).await;
    assert!(status.rtt.is_some());
}

#[tokio::test]
async fn a_silent_agent_is_a_lost_path_and_one_that_returns_a_good_one() {
    let east = Agent::start("east");
    let mut west = Agent::start("west");
    west.targets.send_replace(east.as_target());
    within(west.path_becomes(&east, Path::Good)).await;

    let address = east.address;
    east.stop().await;

    let lost = within(west.path_becomes_of("east", Path::Lost)).await;
    assert_eq!(lost.path, Path::Lost);
    let east = Agent::start_at("east", address);
    within(west.path_becomes(&east, Path::Good)).await;
}

#[tokio::test]
async fn a_cluster_without_targets_has_no_path() {
    let east = Agent::start("east");
    let mut west = Agent::start("west");
    west.targets.send_replace(east.as_target());
    within(west.path_becomes(&east, Path::Good)).await;

    west.targets.send_replace(Arc::default());

    let is_gone = west.paths.wait_for(BTreeMap::is_empty);
    within(is_gone).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_moves_is_found_at_both_addresses_and_goes_on_probing() {
    let mut east = Agent::start("east");
    let mut west = Agent::start("west");
    east.targets.send_replace(west.as_target());
    west.targets.send_replace(east.as_target());
    within(west.path_becomes(&east, Path::Good)).await;
    within(east.path_becomes(&west, Path::Good)).await;

    let socket = ProbeSocket::bind((Ipv6Addr::LOCALHOST, 0).into(), None).unwrap();
    let former = east.as_target();
    east.address = socket.local_addr().unwrap();
    east.sockets.send(socket).await.unwrap();

    // Each as a cluster of its own, so that neither can stand for the other.
    let mut watcher = Agent::start("watcher");
    for (name, address) in [("former", former), ("present", east.as_target())] {
        let address = *address.values().next().unwrap();
        let key = (cluster(name), NodeName::parse("node").unwrap());
        watcher
            .targets
            .send_replace(Arc::new(Targets::from([(key, address)])));
        within(watcher.path_becomes_of(name, Path::Good)).await;
    }
    within(east.path_becomes(&west, Path::Good)).await;
}

/// A running prober.
struct Agent {
    name: &'static str,
    address: SocketAddr,
    targets: watch::Sender<Arc<Targets>>,
    paths: watch::Receiver<Paths>,
    sockets: mpsc::Sender<ProbeSocket>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    fn start(name: &'static str) -> Self {
        Self::start_at(name, (Ipv6Addr::LOCALHOST, 0).into())
    }

    fn start_at(name: &'static str, address: SocketAddr) -> Self {
        let socket = ProbeSocket::bind(address, None).unwrap();
        let config = ProbeConfig {
            interval: Duration::from_millis(10),
            multiplier: 3,
        };
        let (targets, wanted) = watch::channel(Arc::default());
        let (found, paths) = watch::channel(Paths::new());
        let shutdown = CancellationToken::new();
        let (sockets, waiting) = mpsc::channel(1);
        let address = socket.local_addr().unwrap();
        let task = ProbeTask {
            socket,
            former: None,
            sockets: waiting,
            prober: Prober::new(config, NodeName::parse("node").unwrap()),
            targets: wanted,
            paths: found,
            shutdown: shutdown.clone(),
        };
        Self {
            name,
            address,
            targets,
            paths,
            sockets,
            shutdown,
            task: tokio::spawn(task.run()),
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    fn as_target(&self) -> Arc<Targets> {
        let key = (cluster(self.name), NodeName::parse("node").unwrap());
        Arc::new(Targets::from([(key, self.address)]))
    }

    async fn path_becomes(&mut self, other: &Self, path: Path) -> PathStatus {
        self.path_becomes_of(other.name, path).await
    }

    async fn path_becomes_of(&mut self, name: &str, path: Path) -> PathStatus {
        let cluster = cluster(name);
        let is_so = |paths: &Paths| paths.get(&cluster).is_some_and(|s| s.path == path);
        let paths = self.paths.wait_for(is_so).await.unwrap();
        paths[&cluster]
    }
}

fn cluster(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(5), future)
        .await
        .expect("not within five seconds")
}
