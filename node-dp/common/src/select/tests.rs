//! Selection against its promises: only what may serve, and in the shares that the weights give.

use proptest::prelude::*;

use super::*;
use crate::service::MAX_GROUPS;

#[test]
fn the_lowest_tier_that_can_serve_takes_everything() {
    let service = service(&[Group::new(0, 0, 1, 2), Group::new(1, 1, 1, 2)]);

    assert_eq!(shares(&service, |_| true), [DRAWS, 0]);
    assert_eq!(shares(&service, |cluster| cluster != 0), [0, DRAWS]);
}

#[test]
fn a_tier_whose_groups_are_empty_is_passed_over() {
    let service = service(&[
        Group::new(0, 0, 1, 0),
        Group::new(1, 1, 0, 9),
        Group::new(2, 2, 1, 1),
    ]);

    assert_eq!(shares(&service, |_| true), [0, 0, DRAWS]);
}

#[test]
fn weights_are_shares_within_a_tier() {
    let service = service(&[
        Group::new(0, 0, 100, 1),
        Group::new(1, 0, 200, 5),
        Group::new(2, 0, 700, 1),
    ]);

    let shares = shares(&service, |_| true);

    for (share, weight) in shares.into_iter().zip([0.1, 0.2, 0.7]) {
        let expected = f64::from(DRAWS) * weight;
        assert!((f64::from(share) - expected).abs() < f64::from(DRAWS) * 0.01);
    }
}

#[test]
fn slots_of_a_group_are_used_evenly() {
    let service = service(&[Group::new(0, 0, 1, 10)]);
    let random = Seeded::new(1);
    let mut used = [0u32; 10];
    for _ in 0..DRAWS {
        let choice = select(&service, |_| true, || random.draw()).unwrap();
        used[usize::from(choice.slot)] += 1;
    }

    for count in used {
        assert!((f64::from(count) / f64::from(DRAWS) - 0.1).abs() < 0.01);
    }
}

#[test]
fn a_service_without_backends_says_so() {
    let empty = service(&[]);
    let hollow = service(&[Group::new(0, 0, 1, 0)]);

    for service in [empty, hollow] {
        assert_eq!(select(&service, |_| true, || 0), Err(DropReason::NoBackend));
    }
}

#[test]
fn backends_whose_clusters_are_all_out_say_so() {
    let service = service(&[Group::new(1, 0, 1, 3), Group::new(2, 1, 1, 3)]);

    assert_eq!(
        select(&service, |_| false, || 0),
        Err(DropReason::NoLiveCluster)
    );
}

#[test]
fn one_backend_needs_no_randomness() {
    let service = service(&[Group::new(0, 0, 7, 1)]);

    let choice = select(&service, |_| true, || unreachable!("nothing to draw for"));

    assert_eq!(
        choice,
        Ok(Choice {
            cluster: 0,
            slot: 0
        })
    );
}

#[test]
fn neighbouring_sockets_do_not_share_a_slot() {
    let service = service(&[Group::new(0, 0, 1, 2)]);

    let first = (0..DRAWS)
        .filter(|cookie| {
            let random = Seeded::new(u64::from(*cookie));
            select(&service, |_| true, || random.draw()).unwrap().slot == 0
        })
        .count();

    assert!((first as f64 / f64::from(DRAWS) - 0.5).abs() < 0.01);
}

proptest! {
    #[test]
    fn a_choice_is_a_live_slot_of_the_best_tier(
        groups in proptest::collection::vec(any_group(), 0..=MAX_GROUPS),
        alive in any::<u16>(),
        seed in any::<u64>(),
    ) {
        let service = service(&groups);
        let takes = |cluster: u16| alive & (1 << cluster) != 0;
        let random = Seeded::new(seed);
        let best = groups
            .iter()
            .filter(|group| can_serve(group) && takes(group.cluster()))
            .map(Group::tier)
            .min();

        match select(&service, takes, || random.draw()) {
            Ok(choice) => {
                let is_legal = groups.iter().any(|group| {
                    can_serve(group)
                        && takes(group.cluster())
                        && Some(group.tier()) == best
                        && group.cluster() == choice.cluster
                        && choice.slot < group.count()
                });
                prop_assert!(is_legal);
            }
            Err(DropReason::NoBackend) => prop_assert!(!groups.iter().any(can_serve)),
            Err(reason) => {
                prop_assert_eq!(reason, DropReason::NoLiveCluster);
                prop_assert!(best.is_none() && groups.iter().any(can_serve));
            }
        }
    }

    #[test]
    fn the_largest_draw_stays_below_the_bound(random in any::<u32>(), bound in 1u32..=u32::MAX) {
        prop_assert!(below(random, bound) < bound);
        prop_assert!(below(u32::MAX, bound) < bound);
    }
}

const DRAWS: u32 = 100_000;

fn service(groups: &[Group]) -> ServiceValue {
    ServiceValue::try_new(1, groups).unwrap()
}

fn can_serve(group: &Group) -> bool {
    group.count() > 0 && group.weight() > 0
}

fn any_group() -> impl Strategy<Value = Group> {
    (0u16..16, 0u8..4, 0u16..5, 0u16..5)
        .prop_map(|(cluster, tier, weight, count)| Group::new(cluster, tier, weight, count))
}

/// How many connections each of the service's groups got.
fn shares(service: &ServiceValue, takes: impl Fn(u16) -> bool) -> Vec<u32> {
    let random = Seeded::new(42);
    let mut shares = vec![0; service.groups().len()];
    for _ in 0..DRAWS {
        let choice = select(service, &takes, || random.draw()).unwrap();
        let index = service
            .groups()
            .iter()
            .position(|group| group.cluster() == choice.cluster)
            .unwrap();
        shares[index] += 1;
    }
    shares
}
