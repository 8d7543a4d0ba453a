//! Dumps of whole images, step by step, against the files in `node-dp/core/tests/golden`.
//!
//! `UPDATE_GOLDEN=1` writes the files anew; read the difference before committing it.

use std::{fs, path::PathBuf};

use cluster_registry::endpoint::Conditions;

use super::*;

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
    let terminating = Conditions {
        ready: false,
        serving: true,
        terminating: true,
    };
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
    world.endpoint_in("east", "web", "10.1.0.1", terminating);
    step(&world, "one terminates", &mut dump);
    world.endpoint_in("east", "web", "10.1.0.2", terminating);
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
