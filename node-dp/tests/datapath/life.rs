//! Pins outlive the agent, and a restarted agent takes them over without a gap.

use std::{
    fs, io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aya::programs::links::{FdLink, PinnedLink};
use node_dp::datapath::{Adoption, Datapath, DatapathConfig, MapSizes, OpenError};
use node_dp_common::ClusterState;

use crate::{
    fixture::{Node, Service, TCP, install, put_cluster},
    tcp::{ask, serve},
};

const FRONTEND: &str = "10.96.0.1:80";

#[test]
#[ignore = "needs root"]
fn traffic_goes_on_after_the_agent_has_ended() {
    let node = Node::new();
    node.run(|| {
        let server = serve("127.0.0.1");
        node.run_agent(server);

        assert_eq!(ask(FRONTEND).unwrap(), server);
    });
}

#[test]
#[ignore = "needs root"]
fn a_restarted_agent_adopts_what_is_there() {
    let node = Node::new();
    node.run(|| {
        let server = serve("127.0.0.1");
        let (mut first, adoption) = node.open();
        assert_eq!(adoption, Adoption::Fresh);
        install(&mut first, &[service(server)]);
        let before = first.read_image().unwrap();
        drop(first);

        let (second, adoption) = node.open();

        assert_eq!(adoption, Adoption::Adopted);
        assert_eq!(second.read_image().unwrap(), before);
        assert_eq!(ask(FRONTEND).unwrap(), server);
    });
}

#[test]
#[ignore = "needs root"]
fn an_adopted_link_stays_and_runs_the_new_program() {
    let node = Node::new();
    drop(node.open());
    let before = links(&node);

    drop(node.open());

    let after = links(&node);
    assert_eq!(before.len(), 8);
    for ((old_link, old_program), (link, program)) in before.into_iter().zip(after) {
        assert_eq!(old_link, link);
        assert_ne!(old_program, program);
    }
}

#[test]
#[ignore = "needs root"]
fn no_connection_fails_while_agents_come_and_go() {
    let node = Node::new();
    node.run(|| {
        let server = serve("127.0.0.1");
        node.run_agent(server);
        let is_over = AtomicBool::new(false);

        let connections = thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(ask(FRONTEND).unwrap(), server);
                    count += 1;
                }
                count
            });
            for _ in 0..10 {
                drop(node.open());
            }
            is_over.store(true, Ordering::Relaxed);
            client.join().unwrap()
        });

        assert!(connections > 0);
    });
}

#[test]
#[ignore = "needs root"]
fn maps_of_another_size_serve_until_the_new_ones_are_filled() {
    let node = Node::new();
    node.run(|| {
        let [old, new] = [serve("127.0.0.1"), serve("127.0.0.2")];
        node.run_agent(old);

        let (mut datapath, adoption) = Datapath::open(larger(&node)).unwrap();
        assert_eq!(adoption, Adoption::Replacing);
        assert_eq!(ask(FRONTEND).unwrap(), old);
        install(&mut datapath, &[service(new)]);
        assert_eq!(ask(FRONTEND).unwrap(), old);

        datapath.activate().unwrap();

        assert_eq!(ask(FRONTEND).unwrap(), new);
        assert_eq!(node.map_directories().len(), 1);
        drop(datapath);
        let (_, adoption) = Datapath::open(larger(&node)).unwrap();
        assert_eq!(adoption, Adoption::Adopted);
    });
}

#[test]
#[ignore = "needs root"]
fn an_agent_that_ends_before_its_new_maps_are_filled_leaves_the_old_ones_serving() {
    let node = Node::new();
    node.run(|| {
        let old = serve("127.0.0.1");
        node.run_agent(old);
        drop(Datapath::open(larger(&node)).unwrap());

        let (datapath, adoption) = Datapath::open(larger(&node)).unwrap();

        assert_eq!(adoption, Adoption::Replacing);
        assert!(datapath.is_waiting());
        assert_eq!(ask(FRONTEND).unwrap(), old);
    });
}

#[test]
#[ignore = "needs root"]
fn a_link_to_another_cgroup_is_replaced() {
    let [node, former] = [Node::new(), Node::new()];
    let config = DatapathConfig {
        cgroup: former.cgroup().to_owned(),
        ..node.config()
    };
    drop(Datapath::open(config).unwrap());
    node.run(|| {
        let server = serve("127.0.0.1");
        node.run_agent(server);

        assert_eq!(ask(FRONTEND).unwrap(), server);
    });
    former.run(|| {
        let error = ask(FRONTEND).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
    });
}

#[test]
#[ignore = "needs root"]
fn nothing_is_left_after_detaching_all() {
    let node = Node::new();
    node.run(|| {
        let server = serve("127.0.0.1");
        node.run_agent(server);

        Datapath::detach_all(&node.bpffs()).unwrap();

        let error = ask(FRONTEND).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
        assert!(node.map_directories().is_empty());
        assert!(!node.bpffs().join("links").exists());
        Datapath::detach_all(&node.bpffs()).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_directory_that_is_no_cgroup_is_refused() {
    let node = Node::new();
    let config = DatapathConfig {
        cgroup: std::env::temp_dir(),
        ..node.config()
    };

    let refused = Datapath::open(config);

    assert!(matches!(refused, Err(OpenError::NotCgroup2(_))));
}

impl Node {
    /// The whole life of an agent that programs one service.
    fn run_agent(&self, server: SocketAddr) {
        let (mut datapath, _) = self.open();
        install(&mut datapath, &[service(server)]);
        put_cluster(&mut datapath, 0, "east", ClusterState::Up);
    }
}

fn service(server: SocketAddr) -> Service {
    Service::new(1, FRONTEND, TCP).group(0, 0, &[server])
}

fn larger(node: &Node) -> DatapathConfig {
    DatapathConfig {
        sizes: MapSizes {
            services: 100_000,
            ..MapSizes::default()
        },
        ..node.config()
    }
}

/// The numbers of the pinned links and of the programs they run.
fn links(node: &Node) -> Vec<(u32, u32)> {
    let mut pins: Vec<_> = fs::read_dir(node.bpffs().join("links"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pins.sort_unstable();
    pins.into_iter()
        .map(|pin| {
            let link = FdLink::from(PinnedLink::from_pin(pin).unwrap());
            let info = link.info().unwrap();
            (info.id(), info.program_id())
        })
        .collect()
}
