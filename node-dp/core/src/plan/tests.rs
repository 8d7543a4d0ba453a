//! Tests of the planner: what one change makes, golden dumps and random histories.

mod contested;
mod golden;
mod health;
mod imports;
mod random;
pub(super) mod world;

use cluster_registry::{endpoint::Conditions, service::ClusterAffinity};
use node_dp_common::{ClusterState, ClusterValue, MAX_GROUPS, select};

use super::*;
use crate::verdict::Ruling;
use world::{World, here, ip, name};

#[test]
fn a_verdict_is_one_change_however_many_services_use_the_cluster() {
    let mut world = World::new();
    world.cluster("west");
    for number in 1..=200 {
        world.service(&format!("s{number}"), &format!("10.0.1.{number}"));
        world.endpoint("west", &format!("s{number}"), "10.2.0.1");
    }
    let (mut planner, _) = world.planner();

    let down = planner.rule(&name("west"), Ruling::Down);
    let again = planner.rule(&name("west"), Ruling::Down);

    let index = planner.cluster_index(&name("west")).unwrap();
    let value = ClusterValue::try_new("west", ClusterState::Down).unwrap();
    assert_eq!(down, Some(MapOp::PutCluster(index, value)));
    assert_eq!(again, None);
    assert_eq!(planner.image().clusters[&index], value);
}

#[test]
fn an_endpoint_more_touches_only_its_own_keys() {
    let mut world = World::new();
    for number in 1..=50 {
        world.service(&format!("s{number}"), &format!("10.0.1.{number}"));
        world.endpoint("east", &format!("s{number}"), "10.1.0.1");
    }
    let (mut planner, _) = world.planner();

    world.endpoint("east", "s7", "10.1.0.2");
    let ops = world.update(&mut planner, &["s7"]);

    let labels: Vec<_> = ops.iter().map(MapOp::label).collect();
    assert_eq!(labels, ["put-backend", "put-service"]);
}

#[test]
fn a_backend_departs_when_its_endpoint_goes_and_not_when_it_terminates() {
    let mut world = World::new();
    world.service("web", "10.0.1.1");
    world.endpoint("east", "web", "10.1.0.1");
    world.endpoint("east", "web", "10.1.0.2");
    let (mut planner, _) = world.planner();
    let terminating = Conditions {
        ready: false,
        serving: true,
        terminating: true,
    };

    world.endpoint_in("east", "web", "10.1.0.1", terminating);
    world.update(&mut planner, &["web"]);
    assert_eq!(planner.take_departed(), BTreeSet::new());

    world.no_endpoint("east", "web", "10.1.0.1");
    world.update(&mut planner, &["web"]);
    let departed = Departed {
        frontend: FrontendKey::new(ip("10.0.1.1"), 80, 6),
        backend: BackendValue::new(ip("10.1.0.1"), 8080),
    };
    assert_eq!(planner.take_departed(), [departed].into());
}

#[test]
fn datagrams_leave_a_backend_that_does_not_serve_and_a_service_that_is_gone() {
    let mut world = World::new();
    world.udp("dns", "10.0.1.1");
    world.endpoint("east", "dns", "10.1.0.1");
    world.endpoint("east", "dns", "10.1.0.2");
    let (mut planner, _) = world.planner();
    let departed = |address: &str| Departed {
        frontend: FrontendKey::new(ip("10.0.1.1"), 80, 17),
        backend: BackendValue::new(ip(address), 8080),
    };
    let conditions = |serving| Conditions {
        ready: false,
        serving,
        terminating: serving,
    };

    world.endpoint_in("east", "dns", "10.1.0.1", conditions(true));
    world.update(&mut planner, &["dns"]);
    assert_eq!(planner.take_departed(), BTreeSet::new());

    world.endpoint_in("east", "dns", "10.1.0.1", conditions(false));
    world.update(&mut planner, &["dns"]);
    assert_eq!(planner.take_departed(), [departed("10.1.0.1")].into());

    world.no_service("dns");
    world.update(&mut planner, &["dns"]);
    assert_eq!(planner.take_departed(), [departed("10.1.0.2")].into());
}

#[test]
fn an_endpoint_less_shrinks_the_service_before_its_backend_goes() {
    let mut world = World::new();
    world.service("web", "10.0.1.1");
    for number in 1..=3 {
        world.endpoint("east", "web", &format!("10.1.0.{number}"));
    }
    let (mut planner, _) = world.planner();

    world.no_endpoint("east", "web", "10.1.0.1");
    let ops = world.update(&mut planner, &["web"]);

    let labels: Vec<_> = ops.iter().map(MapOp::label).collect();
    assert_eq!(labels, ["put-backend", "put-service", "delete-backend"]);
}

#[test]
fn a_restarted_agent_that_finds_what_it_left_changes_nothing() {
    let mut world = World::new();
    world.cluster("west");
    world.service("web", "10.0.1.1");
    world.service("web6", "fd00:1::1");
    for number in 1..=5 {
        world.endpoint("east", "web", &format!("10.1.0.{number}"));
        world.endpoint("west", "web", &format!("10.2.0.{number}"));
        world.endpoint("west", "web6", &format!("fd00:2::{number}"));
    }
    let (mut before, _) = world.planner();
    world.no_endpoint("east", "web", "10.1.0.2");
    world.update(&mut before, &["web"]);

    let mut after = Planner::adopt(here(), before.image().clone());
    let ops = world.sync(&mut after);

    assert_eq!(ops, []);
    assert_eq!(after.image(), before.image());
}

#[test]
fn a_restarted_agent_keeps_a_cluster_down_that_was_down() {
    let mut world = World::new();
    world.cluster("west");
    let (mut before, _) = world.planner();
    before.rule(&name("west"), Ruling::Down);

    let after = Planner::adopt(here(), before.image().clone());

    assert_eq!(after.ruling(&name("west")), Some(Ruling::Down));
}

#[test]
fn nothing_adopted_is_removed_before_the_sweep() {
    let mut world = World::new();
    world.service("web", "10.0.1.1");
    world.endpoint("east", "web", "10.1.0.1");
    let (before, _) = world.planner();
    let empty = World::new();

    let mut after = Planner::adopt(here(), before.image().clone());
    let updated = empty.update(&mut after, &[]);
    assert_eq!(updated, []);
    let swept = after.sweep(&empty.view());

    let labels: Vec<_> = swept.iter().map(MapOp::label).collect();
    assert_eq!(labels, ["delete-service", "delete-backend"]);
    assert!(after.image().services.is_empty());
}

#[test]
fn backends_in_a_17th_cluster_are_left_out_by_the_policys_order() {
    let mut world = World::new();
    world.service("web", "10.0.1.1");
    world.affinity("web", ClusterAffinity::Local);
    for number in 1..=MAX_GROUPS {
        let cluster = format!("c{number:02}");
        world.cluster(&cluster);
        world.endpoint(&cluster, "web", "10.2.0.1");
    }
    world.endpoint("east", "web", "10.1.0.1");

    let (planner, _) = world.planner();

    let value = planner.image().services.values().next().unwrap();
    let problems = &planner.problems()[&world::service("web")];
    assert_eq!(value.groups().len(), MAX_GROUPS);
    assert_eq!(value.groups()[0].cluster(), LOCAL_CLUSTER);
    let last = planner.cluster_index(&name("c16")).unwrap();
    assert!(value.groups().iter().all(|group| group.cluster() != last));
    assert_eq!(problems[0].label(), "too-many-clusters");
}

#[test]
fn a_service_without_backends_is_there_to_refuse() {
    let mut world = World::new();
    world.service("web", "10.0.1.1");

    let (planner, _) = world.planner();

    let value = planner.image().services.values().next().unwrap();
    let choice = select(value, |_| true, || 0);
    assert!(choice.is_err());
}

#[test]
fn a_headless_service_and_an_sctp_port_have_no_frontends() {
    let mut world = World::new();
    world.headless("db");
    world.sctp("signal", "10.0.1.1");

    let (planner, _) = world.planner();

    assert!(planner.image().services.is_empty());
    let problems = &planner.problems()[&world::service("signal")];
    assert_eq!(problems[0].label(), "unsupported-protocol");
}

#[test]
fn a_cluster_that_is_gone_frees_its_index_with_its_last_service() {
    let mut world = World::new();
    world.cluster("west");
    world.service("web", "10.0.1.1");
    world.endpoint("west", "web", "10.2.0.1");
    let (mut planner, _) = world.planner();

    world.no_cluster("west");
    planner.forget_cluster(&name("west"));
    assert_eq!(world.update(&mut planner, &[]), []);
    world.no_endpoint("west", "web", "10.2.0.1");
    let ops = world.update(&mut planner, &["web"]);

    let last = ops.last().unwrap();
    assert_eq!(*last, MapOp::PutCluster(1, ClusterValue::UNUSED));
    assert_eq!(planner.cluster_index(&name("west")), None);
}
