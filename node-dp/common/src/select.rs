//! Chooses a backend of a service: the lowest tier that can serve, within it by weight, within the group evenly.

use core::cell::Cell;

use crate::{
    drops::DropReason,
    service::{Group, MAX_GROUPS, ServiceValue},
};

/// The chosen place: together with the service's id it is a backend's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The index of the cluster.
    pub cluster: u16,
    /// The slot among the cluster's backends.
    pub slot: u16,
}

/// No sum of weights is larger: 16 groups of 16 bits each.
///
/// Masking a sum with it changes nothing but what the kernel's verifier knows: it sees one range instead of one per group,
/// and so looks at a quarter of the paths.
const MOST_WEIGHTS: u32 = 0x000f_ffff;

const _: () = assert!(u16::MAX as u32 * MAX_GROUPS as u32 <= MOST_WEIGHTS);

/// Chooses where a new connection to `service` goes, as [`select_group`] does, and evenly within the group.
#[inline(always)]
pub fn select(
    service: &ServiceValue,
    takes: impl Fn(u16) -> bool,
    random: impl Fn() -> u32,
) -> Result<Choice, DropReason> {
    let group = select_group(service, takes, &random)?;
    Ok(Choice {
        cluster: group.cluster(),
        slot: any_slot(&group, random),
    })
}

/// Any slot of a group.
#[inline(always)]
pub fn any_slot(group: &Group, random: impl Fn() -> u32) -> u16 {
    if group.count() == 1 {
        return 0;
    }
    // `below` stays under a count of sixteen bits.
    below(random(), u32::from(group.count())) as u16
}

/// Chooses the group to which a new connection to `service` goes.
///
/// `takes` says whether the cluster of an index takes this connection; it is asked at most once per group. `random` is
/// drawn from only where there is more than one possibility.
///
/// One pass suffices: each group of the tier replaces the one held so far with the probability of its weight in the
/// weights seen so far, which leaves each with the probability of its weight in all.
#[inline(always)]
pub fn select_group(
    service: &ServiceValue,
    takes: impl Fn(u16) -> bool,
    random: impl Fn() -> u32,
) -> Result<Group, DropReason> {
    let mut reason = DropReason::NoBackend;
    let mut held = Group::default();
    let mut weights: u32 = 0;

    for (index, group) in service.places().iter().enumerate() {
        if index >= usize::from(service.group_count()) {
            break;
        }
        if weights > 0 && group.tier() != held.tier() {
            break;
        }
        if group.count() == 0 || group.weight() == 0 {
            continue;
        }
        if !takes(group.cluster()) {
            reason = DropReason::NoLiveCluster;
            continue;
        }
        let weight = u32::from(group.weight());
        weights = (weights + weight) & MOST_WEIGHTS;
        if weights == weight || below(random(), weights) < weight {
            held = *group;
        }
    }

    if weights == 0 {
        return Err(reason);
    }
    Ok(held)
}

/// Scales a number drawn from all of `u32` to one below `bound`.
#[inline(always)]
fn below(random: u32, bound: u32) -> u32 {
    ((u64::from(random) * u64::from(bound)) >> 32) as u32
}

/// A random source from one seed: the same seed draws the same numbers.
///
/// Datagrams of one socket draw from its cookie, so that a conversation stays with one backend.
#[derive(Debug)]
pub struct Seeded(Cell<u64>);

impl Seeded {
    /// A source that begins at `seed`.
    #[inline(always)]
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// The next number (SplitMix64: neighbouring seeds give unrelated numbers).
    #[inline(always)]
    pub fn draw(&self) -> u32 {
        let mut z = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(z);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests;
