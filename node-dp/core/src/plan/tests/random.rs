//! Random histories of views: whatever the steps, the maps end as the view says, and are whole in between.

use node_dp_common::{BackendKey, BackendValue};
use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn the_changes_of_every_update_turn_the_maps_into_the_plan(steps in steps()) {
        let mut world = World::new();
        let mut planner = Planner::adopt(here(), Image::default());
        let mut maps = Image::default();
        for ops in play(&mut world, &mut planner, &steps) {
            for op in &ops {
                maps.apply(op);
                whole(&maps)?;
            }
        }
        prop_assert_eq!(&maps, planner.image());
        prop_assert_eq!(meaning(planner.image()), meaning(world.planner().0.image()));
    }

    #[test]
    fn a_restart_in_between_changes_nothing_that_is_right(steps in steps(), more in steps()) {
        let mut world = World::new();
        let mut planner = Planner::adopt(here(), Image::default());
        drop(play(&mut world, &mut planner, &steps));
        let mut maps = planner.image().clone();
        more.iter().for_each(|step| drop(step.change(&mut world)));

        let mut restarted = Planner::adopt(here(), maps.clone());
        for op in world.sync(&mut restarted) {
            maps.apply(&op);
            whole(&maps)?;
        }

        prop_assert_eq!(&maps, restarted.image());
        prop_assert_eq!(meaning(&maps), meaning(world.planner().0.image()));
        let mut again = Planner::adopt(here(), maps);
        prop_assert_eq!(world.sync(&mut again), vec![]);
    }

    #[test]
    fn a_diff_leads_from_any_image_to_any_other(old in steps(), new in steps()) {
        let image = |steps: &[Step]| {
            let mut world = World::new();
            steps.iter().for_each(|step| drop(step.change(&mut world)));
            world.planner().0.image().clone()
        };
        let (mut maps, new) = (image(&old), image(&new));

        for op in diff(&maps.clone(), &new) {
            maps.apply(&op);
        }

        prop_assert_eq!(maps, new);
    }
}

/// Few names and addresses, so that steps meet.
#[derive(Debug, Clone)]
enum Step {
    Service(u8),
    NoService(u8),
    Endpoint(u8, u8, u8),
    NoEndpoint(u8, u8, u8),
    Affinity(u8, bool),
    SessionAffinity(u8, Option<u8>),
    Restore(u8),
}

const CLUSTERS: [&str; 3] = ["east", "north", "west"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..3u8).prop_map(Step::Service),
        1 => (0..3u8).prop_map(Step::NoService),
        6 => (0..3u8, 0..3u8, 0..6u8).prop_map(|(c, s, e)| Step::Endpoint(c, s, e)),
        4 => (0..3u8, 0..3u8, 0..6u8).prop_map(|(c, s, e)| Step::NoEndpoint(c, s, e)),
        1 => (0..3u8, any::<bool>()).prop_map(|(s, local)| Step::Affinity(s, local)),
        1 => (0..3u8, prop::option::of(1..3u8)).prop_map(|(s, t)| Step::SessionAffinity(s, t)),
        1 => (0..3u8).prop_map(Step::Restore),
    ];
    prop::collection::vec(step, 0..40)
}

impl Step {
    /// Changes the world, and names the service that is touched.
    fn change(&self, world: &mut World) -> String {
        CLUSTERS[1..]
            .iter()
            .for_each(|cluster| world.cluster(cluster));
        match *self {
            Self::Service(s) | Self::Restore(s) => {
                world.no_service(&label(s));
                world.service(&label(s), &format!("10.0.1.{s}"));
                label(s)
            }
            Self::NoService(s) => {
                world.no_service(&label(s));
                label(s)
            }
            Self::Endpoint(c, s, e) => {
                let cluster = CLUSTERS[usize::from(c)];
                world.endpoint(cluster, &label(s), &format!("10.{c}.0.{e}"));
                label(s)
            }
            Self::NoEndpoint(c, s, e) => {
                let cluster = CLUSTERS[usize::from(c)];
                world.endpoint(cluster, &label(s), &format!("10.{c}.0.{e}"));
                world.no_endpoint(cluster, &label(s), &format!("10.{c}.0.{e}"));
                label(s)
            }
            Self::Affinity(s, is_local) => {
                world.no_service(&label(s));
                world.service(&label(s), &format!("10.0.1.{s}"));
                let affinity = match is_local {
                    true => ClusterAffinity::Local,
                    false => ClusterAffinity::Remote,
                };
                world.affinity(&label(s), affinity);
                label(s)
            }
            Self::SessionAffinity(s, timeout) => {
                world.no_service(&label(s));
                world.service(&label(s), &format!("10.0.1.{s}"));
                world.session_affinity(&label(s), timeout.map(u64::from));
                label(s)
            }
        }
    }
}

fn label(number: u8) -> String {
    format!("s{number}")
}

fn play(world: &mut World, planner: &mut Planner, steps: &[Step]) -> Vec<Vec<MapOp>> {
    let mut all = Vec::new();
    for step in steps {
        let touched = step.change(world);
        let clusters = CLUSTERS[1..].iter();
        all.push(
            clusters
                .filter_map(|cluster| planner.rule(&name(cluster), Ruling::Up))
                .collect(),
        );
        all.push(world.update(planner, &[&touched]));
    }
    all
}

/// Every slot that a service counts has a backend, and its cluster is known: no reader meets a hole.
fn whole(maps: &Image) -> Result<(), TestCaseError> {
    for (frontend, service) in &maps.services {
        for group in service.groups() {
            prop_assert!(maps.clusters.contains_key(&group.cluster()), "{frontend}");
            for slot in 0..group.count() {
                let key = BackendKey::new(service.id(), group.cluster(), slot);
                prop_assert!(maps.backends.contains_key(&key), "{frontend} {key:?}");
            }
        }
    }
    Ok(())
}

/// The backends of each tier and cluster, for how long clients keep theirs, and which they may keep.
type Meaning = (
    BTreeMap<(u8, String), BTreeSet<BackendValue>>,
    Option<u32>,
    BTreeSet<BackendValue>,
);

/// What the maps mean, without the numbers that history gave out.
fn meaning(maps: &Image) -> BTreeMap<FrontendKey, Meaning> {
    let meaning_of = |service: &ServiceValue| {
        let groups = service.groups().iter();
        let groups = groups.map(|group| {
            let cluster = maps.clusters[&group.cluster()].name().to_owned();
            let backends = maps.group(service.id(), group.cluster());
            ((group.tier(), cluster), backends.map(|(_, b)| b).collect())
        });
        let kept = maps.members_of(service.id()).map(|(_, b)| b);
        (groups.collect(), service.affinity_timeout(), kept.collect())
    };
    let services = maps.services.iter();
    services
        .map(|(frontend, service)| (*frontend, meaning_of(service)))
        .collect()
}
