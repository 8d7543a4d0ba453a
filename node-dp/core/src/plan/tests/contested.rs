//! Frontends that several services ask for: the oldest has them, and a problem tells the others.

use cluster_registry::service::{Exposure, IpMode, LoadBalancerIp, Timestamp};
use proptest::prelude::*;

use super::*;

#[test]
fn a_frontend_stays_with_the_older_service_until_that_lets_go() {
    let mut world = World::new();
    aged(&mut world, "web", 1, "10.0.1.1");
    world.endpoint("east", "web", "10.1.0.1");
    let (mut planner, _) = world.planner();

    aged(&mut world, "thief", 2, "10.0.1.1");
    world.endpoint("east", "thief", "10.1.0.66");
    let contested = world.update(&mut planner, &["thief"]);
    let problems = &planner.problems()[&world::service("thief")];
    assert_eq!(contested, []);
    assert_eq!(problems[0].label(), "held-frontend");

    world.no_service("web");
    world.update(&mut planner, &["web"]);

    assert!(planner.problems().is_empty());
    assert_eq!(backends(&planner), ["10.1.0.66"]);
}

#[test]
fn an_older_service_takes_its_frontend_from_a_younger_one() {
    let mut world = World::new();
    aged(&mut world, "young", 2, "10.0.1.1");
    world.endpoint("east", "young", "10.1.0.66");
    let (mut planner, _) = world.planner();

    aged(&mut world, "old", 1, "10.0.1.1");
    world.endpoint("east", "old", "10.1.0.1");
    world.update(&mut planner, &["old"]);

    assert_eq!(backends(&planner), ["10.1.0.1"]);
    let problem = &planner.problems()[&world::service("young")][0];
    assert_eq!(problem.to_string(), "10.0.1.1:80/TCP belongs to shop/old");
}

#[test]
fn of_equally_old_services_the_first_by_name_has_a_frontend() {
    let mut world = World::new();
    for (label, address) in [("b", "10.1.0.2"), ("a", "10.1.0.1")] {
        aged(&mut world, label, 7, "10.0.1.1");
        world.endpoint("east", label, address);
    }

    let (planner, _) = world.planner();

    assert_eq!(backends(&planner), ["10.1.0.1"]);
}

#[test]
fn of_two_services_with_one_external_ip_the_older_has_it_and_both_keep_their_own() {
    let mut world = World::new();
    for (label, created) in [("old", 1), ("young", 2)] {
        aged(&mut world, label, created, &format!("10.0.1.{created}"));
        world.endpoint("east", label, &format!("10.1.0.{created}"));
        expose(&mut world, label, |exposure| {
            exposure.external_ips = vec![ip("198.51.100.1")];
        });
    }

    let (planner, _) = world.planner();

    let problems = planner.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[&world::service("young")][0].to_string(),
        "198.51.100.1:80/TCP belongs to shop/old"
    );
    assert_eq!(planner.image().services.len(), 3);
}

#[test]
fn a_load_balancer_keeps_its_place_where_sockets_would_pass_by_what_it_does() {
    let balanced = |mode| LoadBalancerIp {
        ip: ip("203.0.113.1"),
        mode,
    };
    let planned = |change: &dyn Fn(&mut Exposure)| {
        let mut world = World::new();
        aged(&mut world, "web", 1, "10.0.1.1");
        expose(&mut world, "web", change);
        world.planner().0.image().services.len()
    };

    assert_eq!(
        planned(&|e| e.load_balancer = vec![balanced(IpMode::Vip)]),
        2
    );
    assert_eq!(
        planned(&|e| e.load_balancer = vec![balanced(IpMode::Proxy)]),
        1
    );
    let fenced = planned(&|e| {
        e.load_balancer = vec![balanced(IpMode::Vip)];
        e.source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    });
    assert_eq!(fenced, 1);
}

#[test]
fn an_address_that_a_service_names_twice_is_one_frontend() {
    let mut world = World::new();
    aged(&mut world, "web", 1, "10.0.1.1");
    expose(&mut world, "web", |exposure| {
        exposure.external_ips = vec![ip("10.0.1.1"), ip("203.0.113.1")];
        exposure.load_balancer = vec![LoadBalancerIp {
            ip: ip("203.0.113.1"),
            mode: IpMode::Vip,
        }];
    });

    let (planner, _) = world.planner();

    assert_eq!(planner.image().services.len(), 2);
    assert!(planner.problems().is_empty());
}

proptest! {
    #[test]
    fn who_has_a_frontend_does_not_depend_on_the_order_of_news(
        ages in prop::collection::vec((0..3u64, 0..2u8), 2..6),
        order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut world = World::new();
        let label = |n: usize| format!("s{n}");
        for (n, (age, address)) in ages.iter().enumerate() {
            aged(&mut world, &label(n), *age, &format!("10.0.1.{address}"));
            world.endpoint("east", &label(n), &format!("10.1.0.{n}"));
        }
        let mut planner = Planner::adopt(here(), Image::default());
        for n in order.into_iter().filter(|n| *n < ages.len()) {
            world.update(&mut planner, &[&label(n)]);
        }

        let (at_once, _) = world.planner();
        prop_assert_eq!(planner.problems(), at_once.problems());
        prop_assert_eq!(backends(&planner), backends(&at_once));
    }
}

fn aged(world: &mut World, label: &str, created: u64, address: &str) {
    world.service(label, address);
    world.local(label).created = Timestamp(created);
}

fn expose(world: &mut World, label: &str, change: impl Fn(&mut Exposure)) {
    let exposure = &mut world.local(label).exposure;
    change(exposure.get_or_insert_default());
}

fn backends(planner: &Planner) -> Vec<String> {
    let backends = planner.image().backends.values();
    let mut backends: Vec<String> = backends.map(|b| b.address().to_string()).collect();
    backends.sort();
    backends
}
