//! Dumps of whole images, step by step, against the files in `node-dp/core/tests/golden`.
//!
//! `UPDATE_GOLDEN=1` writes the files anew; read the difference before committing it.

use std::{fs, num::NonZeroU16, path::PathBuf};

use cluster_registry::{
    endpoint::Conditions,
    service::{Exposure, IpMode, LoadBalancerIp, ServiceKind, SourcePolicy},
    traffic::{TrafficDistribution, TrafficPolicy},
};

use super::*;

const TERMINATING: Conditions = Conditions {
    ready: false,
    serving: true,
    terminating: true,
};

#[test]
fn affinities_rank_clusters() {
    let mut world = World::new();
    world.cluster("west");
    world.service("web", "10.0.1.1");
    world.service("web", "fd00:1::1");
    for number in 1..=2 {
        world.endpoint("east", "web", &format!("10.1.0.{number}"));
        world.endpoint("west", "web", &format!("10.2.0.{number}"));
    }
    world.endpoint("west", "web", "fd00:2::1");
    let (mut planner, _) = world.planner();

    let mut dump = Dump::new("affinity none", &planner);
    for (step, affinity) in [
        ("affinity local", ClusterAffinity::Local),
        ("affinity remote", ClusterAffinity::Remote),
    ] {
        world.affinity("web", affinity);
        world.update(&mut planner, &["web"]);
        dump.step(step, &planner);
    }
    dump.compare("affinity");
}

#[test]
fn terminating_backends_serve_until_there_is_a_ready_one() {
    let mut world = World::new();
    world.cluster("west");
    world.service("web", "10.0.1.1");
    world.endpoint("east", "web", "10.1.0.1");
    world.endpoint("east", "web", "10.1.0.2");
    let (mut planner, _) = world.planner();
    let mut dump = Dump::new("two ready", &planner);

    let mut step = |world: &World, title: &str, dump: &mut Dump| {
        world.update(&mut planner, &["web"]);
        dump.step(title, &planner);
    };
    world.endpoint_in("east", "web", "10.1.0.1", TERMINATING);
    step(&world, "one terminates", &mut dump);
    world.endpoint_in("east", "web", "10.1.0.2", TERMINATING);
    step(&world, "both terminate", &mut dump);
    world.endpoint("west", "web", "10.2.0.1");
    step(&world, "west has a ready one", &mut dump);
    world.no_endpoint("east", "web", "10.1.0.1");
    world.no_endpoint("east", "web", "10.1.0.2");
    world.no_endpoint("west", "web", "10.2.0.1");
    step(&world, "all gone", &mut dump);
    dump.compare("termination");
}

#[test]
fn a_failover_writes_one_line() {
    let mut world = World::new();
    world.cluster("west");
    world.service("web", "10.0.1.1");
    world.endpoint("east", "web", "10.1.0.1");
    world.endpoint("west", "web", "10.2.0.1");
    let (mut planner, _) = world.planner();

    let mut dump = Dump::new("both up", &planner);
    planner.rule(&name("west"), Ruling::Down);
    dump.step("west lost", &planner);
    planner.rule(&name("west"), Ruling::Up);
    dump.step("west back", &planner);
    dump.compare("failover");
}

#[test]
fn clients_from_outside_have_frontends_of_their_own() {
    let mut world = World::new();
    world.cluster("west");
    world.service("web", "10.0.1.1");
    world.service("web", "fd00:1::1");
    for (cluster, address, node) in [
        ("east", "10.1.0.1", Some("n1")),
        ("east", "10.1.0.2", Some("n2")),
        ("east", "fd00:1:1::1", Some("n1")),
        ("west", "10.2.0.1", Some("n1")),
    ] {
        world.endpoint_on(cluster, "web", address, node);
    }
    let planner = || Planner::adopt(here(), Image::default()).serving_outside(true);
    let step = |world: &World, title: &str, planner: &mut Planner, dump: &mut Dump| {
        world.sync(planner);
        dump.step(title, planner);
    };

    let mut planner = planner();
    let mut dump = Dump(String::new());
    world.local("web").kind = ServiceKind::NodePort;
    world.local("web").ports[0].node_port = NonZeroU16::new(30_080);
    step(&world, "node port", &mut planner, &mut dump);
    world.local("web").kind = ServiceKind::LoadBalancer;
    world.local("web").exposure = Some(Box::new(Exposure {
        external_ips: vec![ip("198.51.100.7")],
        load_balancer: vec![
            vip("203.0.113.5", IpMode::Vip),
            vip("203.0.113.6", IpMode::Proxy),
        ],
        source_ranges: vec!["192.0.2.0/24".parse().unwrap()],
        ..Exposure::default()
    }));
    step(&world, "load balancer", &mut planner, &mut dump);
    let exposure = world.local("web").exposure.as_mut().unwrap();
    exposure.source_policy = SourcePolicy::Deny;
    step(&world, "source ranges denied", &mut planner, &mut dump);
    let exposure = world.local("web").exposure.as_mut().unwrap();
    exposure.traffic_policy = TrafficPolicy::Local;
    exposure.source_ranges.clear();
    step(&world, "policy local", &mut planner, &mut dump);
    world.local("web").exposure = None;
    world.local("web").kind = ServiceKind::ClusterIp;
    world.local("web").ports[0].node_port = None;
    step(&world, "cluster ip", &mut planner, &mut dump);
    dump.compare("outside");
}

#[test]
fn a_node_port_is_there_for_sockets_on_a_node_that_serves_nobody_outside() {
    let mut world = World::new();
    world.service("web", "10.0.1.1");
    world.service("web", "fd00:1::1");
    world.endpoint_on("east", "web", "10.1.0.1", Some("n1"));
    world.endpoint_on("east", "web", "10.1.0.2", Some("n2"));
    world.local("web").kind = ServiceKind::NodePort;
    world.local("web").ports[0].node_port = NonZeroU16::new(30_080);
    world.local("web").exposure = Some(Box::new(Exposure {
        traffic_policy: TrafficPolicy::Local,
        ..Exposure::default()
    }));
    let (planner, _) = world.planner();

    Dump::new("node port, external policy local", &planner).compare("node-port");
}

#[test]
fn an_internal_policy_keeps_cluster_ips_to_the_node() {
    let mut world = World::new();
    world.cluster("west");
    world.service("web", "10.0.1.1");
    world.endpoint_on("east", "web", "10.1.0.1", Some("n1"));
    world.endpoint_on("east", "web", "10.1.0.2", Some("n2"));
    world.endpoint_on("west", "web", "10.2.0.1", Some("n1"));
    world.local("web").exposure = Some(Box::new(Exposure {
        external_ips: vec![ip("198.51.100.7")],
        ..Exposure::default()
    }));
    let (mut planner, _) = world.planner();
    let mut dump = Dump::new("policy cluster", &planner);

    let mut step = |world: &World, title: &str| {
        world.update(&mut planner, &["web"]);
        dump.step(title, &planner);
    };
    world.local("web").internal_traffic_policy = TrafficPolicy::Local;
    step(&world, "policy local");
    world.conditions("east", "web", "10.1.0.1", TERMINATING);
    step(&world, "the node's own terminates");
    world.no_endpoint("east", "web", "10.1.0.1");
    step(&world, "the node has none");
    dump.compare("internal-policy");
}

#[test]
fn clients_keep_backends_while_a_service_has_session_affinity() {
    let mut world = World::new();
    world.service("web", "10.0.1.1");
    for number in 1..=3 {
        world.endpoint("east", "web", &format!("10.1.0.{number}"));
    }
    world.session_affinity("web", Some(10_800));
    let (mut planner, ops) = world.planner();
    let mut dump = Dump::new("three hours", &planner);
    dump.ops(&ops);

    let mut step = |world: &World, title: &str| {
        let ops = world.update(&mut planner, &["web"]);
        dump.step(title, &planner);
        dump.ops(&ops);
    };
    world.session_affinity("web", Some(60));
    step(&world, "a minute");
    world.conditions("east", "web", "10.1.0.1", TERMINATING);
    step(&world, "one terminates");
    world.no_endpoint("east", "web", "10.1.0.1");
    step(&world, "it is gone");
    world.session_affinity("web", None);
    step(&world, "no affinity");
    dump.compare("session-affinity");
}

#[test]
fn a_distribution_keeps_to_near_endpoints_and_leaves_shares_of_clusters_alone() {
    let mut world = World::new();
    world.cluster("west");
    world.zone("a");
    world.service("web", "10.0.1.1");
    for (address, at) in [
        ("10.1.0.1", ("n1", "a")),
        ("10.1.0.2", ("n2", "a")),
        ("10.1.0.3", ("n3", "b")),
    ] {
        world.endpoint_in_zone("web", address, at);
    }
    world.endpoint("west", "web", "10.2.0.1");
    let (mut planner, _) = world.planner();
    let mut dump = Dump::new("no distribution", &planner);

    let mut step = |world: &World, title: &str| {
        world.update(&mut planner, &["web"]);
        dump.step(title, &planner);
    };
    world.local("web").traffic_distribution = Some(TrafficDistribution::PreferSameZone);
    step(&world, "same zone");
    world.local("web").traffic_distribution = Some(TrafficDistribution::PreferSameNode);
    step(&world, "same node");
    world.conditions("east", "web", "10.1.0.1", TERMINATING);
    step(&world, "the node's own terminates");
    world.zone("c");
    step(&world, "the node is in a zone without endpoints");
    dump.compare("distribution");
}

fn vip(address: &str, mode: IpMode) -> LoadBalancerIp {
    let ip = ip(address);
    LoadBalancerIp { ip, mode }
}

struct Dump(String);

impl Dump {
    fn new(title: &str, planner: &Planner) -> Self {
        let mut dump = Self(String::new());
        dump.step(title, planner);
        dump
    }

    fn step(&mut self, title: &str, planner: &Planner) {
        self.0
            .push_str(&format!("# {title}\n{}\n", planner.image()));
    }

    /// The changes of a step, in their order.
    fn ops(&mut self, ops: &[MapOp]) {
        for op in ops {
            self.0.push_str(&format!("- {op:?}\n"));
        }
        self.0.push('\n');
    }

    fn compare(&self, file: &str) {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{file}.txt"));
        #[expect(clippy::disallowed_methods, reason = "asks whoever runs the tests")]
        if std::env::var("UPDATE_GOLDEN").is_ok() {
            fs::write(&path, &self.0).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap();
        assert_eq!(self.0, golden, "against {}", path.display());
    }
}
