//! What load balancers are told of the node's own endpoints.

use std::num::NonZeroU16;

use cluster_registry::{endpoint::Conditions, service::Exposure, traffic::TrafficPolicy};

use super::*;

#[test]
fn ready_endpoints_on_the_node_count_and_pods_of_both_families_once() {
    let mut world = exposed(TrafficPolicy::Local);
    for (address, node) in [
        ("10.1.0.1", "n1"),
        ("fd00:1:1::1", "n1"),
        ("10.1.0.2", "n1"),
        ("10.1.0.3", "n2"),
    ] {
        world.endpoint_on("east", "web", address, Some(node));
    }
    world.endpoint_on("west", "web", "10.2.0.1", Some("n1"));

    assert_eq!(told(&world), [(32_000, 2)]);

    let terminating = Conditions {
        ready: false,
        serving: true,
        terminating: true,
    };
    for address in ["10.1.0.1", "fd00:1:1::1", "10.1.0.2"] {
        world.conditions("east", "web", address, terminating);
    }
    assert_eq!(told(&world), [(32_000, 0)]);
}

#[test]
fn only_services_with_the_policy_local_and_a_port_are_told_of() {
    assert_eq!(told(&exposed(TrafficPolicy::Local)), [(32_000, 0)]);
    assert_eq!(told(&exposed(TrafficPolicy::Cluster)), []);

    let mut world = exposed(TrafficPolicy::Local);
    world.local("web").exposure = None;
    assert_eq!(told(&world), []);
}

#[test]
fn a_node_that_serves_nobody_outside_tells_nothing() {
    let world = exposed(TrafficPolicy::Local);
    let (planner, _) = world.planner();

    assert!(planner.checks().is_empty());
}

fn exposed(policy: TrafficPolicy) -> World {
    let mut world = World::new();
    world.cluster("west");
    world.service("web", "10.0.1.1");
    world.local("web").exposure = Some(Box::new(Exposure {
        traffic_policy: policy,
        health_check_node_port: NonZeroU16::new(32_000),
        ..Exposure::default()
    }));
    world
}

/// Ports, and the endpoints that are told of there.
fn told(world: &World) -> Vec<(u16, usize)> {
    let mut planner = Planner::adopt(here(), Image::default()).serving_outside(true);
    world.sync(&mut planner);
    let checks = planner.checks().into_iter();
    checks
        .map(|(port, check)| (port.get(), check.local_endpoints))
        .collect()
}
