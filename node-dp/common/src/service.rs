//! Where a frontend's connections may go, the value of `SERVICES`.
//!
//! All groups of a service lie in one value, so that one lookup tells everything and a change is one atomic write.

use core::{fmt, num::NonZeroU32};

use crate::maglev::Size;

/// The most groups, and so clusters, that one service can have.
///
/// Sixteen keep the value small enough to copy and the kernel's loop over it short.
pub const MAX_GROUPS: usize = 16;

/// The backends that one cluster has for a service.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Group {
    cluster: u16,
    weight: u16,
    count: u16,
    tier: u8,
    maglev: u8,
}

const _: () = assert!(size_of::<Group>() == 8);

impl Group {
    /// A group of `count` backends in the slots `0..count` of the cluster with index `cluster`.
    ///
    /// A group of a higher `tier` serves only while no lower one can; within a tier, `weight` is the share of new
    /// connections, and a weight of zero takes none.
    pub fn new(cluster: u16, tier: u8, weight: u16, count: u16) -> Self {
        Self {
            cluster,
            weight,
            count,
            tier,
            maglev: Size::NONE.number(),
        }
    }

    /// The same group, with a Maglev table of a size.
    #[must_use]
    pub fn with_maglev(mut self, size: Size) -> Self {
        self.maglev = size.number();
        self
    }

    /// The size of its Maglev table.
    #[inline(always)]
    pub fn maglev(&self) -> Size {
        Size::from_number(self.maglev)
    }

    /// The index of its cluster in `CLUSTERS`.
    #[inline(always)]
    pub fn cluster(&self) -> u16 {
        self.cluster
    }

    /// Its share of new connections within its tier.
    #[inline(always)]
    pub fn weight(&self) -> u16 {
        self.weight
    }

    /// The number of its backends.
    #[inline(always)]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Its rank: lower tiers are used first.
    #[inline(always)]
    pub fn tier(&self) -> u8 {
        self.tier
    }
}

/// The traffic comes from outside the cluster: it is spread by Maglev, and masqueraded where its backend is elsewhere.
const EXTERNAL: u16 = 1;

/// Only the clients in `SOURCE_RANGES` are served.
const RESTRICTED: u16 = 2;

/// The clients in `SOURCE_RANGES` are not served.
const DENYING: u16 = 4;

/// A service as the kernel selects from it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceValue {
    id: u32,
    affinity_timeout: u32,
    flags: u16,
    group_count: u16,
    groups: [Group; MAX_GROUPS],
}

const _: () = assert!(size_of::<ServiceValue>() == 140);

impl ServiceValue {
    /// A service with the given groups, which it puts in order of their tiers; `None` if there are too many.
    ///
    /// `id` joins it to its backends' keys.
    pub fn try_new(id: u32, groups: &[Group]) -> Option<Self> {
        let mut value = Self {
            id,
            affinity_timeout: 0,
            flags: 0,
            group_count: u16::try_from(groups.len()).ok()?,
            groups: [Group::default(); MAX_GROUPS],
        };
        value
            .groups
            .get_mut(..groups.len())?
            .copy_from_slice(groups);
        value.groups[..groups.len()].sort_unstable_by_key(|group| (group.tier, group.cluster));
        Some(value)
    }

    /// The same service, for traffic from outside the cluster.
    #[must_use]
    pub fn external(mut self) -> Self {
        self.flags |= EXTERNAL;
        self
    }

    /// The same service, for the clients in `SOURCE_RANGES` alone.
    #[must_use]
    pub fn restricted(mut self) -> Self {
        self.flags |= RESTRICTED;
        self
    }

    /// The same service, for the clients that are not in `SOURCE_RANGES`.
    #[must_use]
    pub fn denying(mut self) -> Self {
        self.flags |= DENYING;
        self
    }

    /// The same service, whose clients keep their backend for so many seconds after their last connection.
    #[must_use]
    pub fn with_affinity(mut self, timeout: NonZeroU32) -> Self {
        self.affinity_timeout = timeout.get();
        self
    }

    /// For how many seconds after its last connection a client keeps its backend; `None` where it does not.
    #[inline(always)]
    pub fn affinity_timeout(&self) -> Option<u32> {
        (self.affinity_timeout != 0).then_some(self.affinity_timeout)
    }

    /// Whether its traffic comes from outside the cluster.
    #[inline(always)]
    pub fn is_external(&self) -> bool {
        self.flags & EXTERNAL != 0
    }

    /// Whether who is served depends on `SOURCE_RANGES`.
    #[inline(always)]
    pub fn is_restricted(&self) -> bool {
        self.flags & (RESTRICTED | DENYING) != 0
    }

    /// Whether the clients in `SOURCE_RANGES` are those that are not served.
    #[inline(always)]
    pub fn denies_sources(&self) -> bool {
        self.flags & DENYING != 0
    }

    /// The number that joins it to its backends' keys.
    #[inline(always)]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its groups, in order of their tiers.
    pub fn groups(&self) -> &[Group] {
        // Values read back from a map may hold anything, so the count is not trusted.
        &self.groups[..usize::from(self.group_count).min(MAX_GROUPS)]
    }

    /// All places for groups; those without backends are never selected.
    #[inline(always)]
    pub fn places(&self) -> &[Group; MAX_GROUPS] {
        &self.groups
    }

    /// How many places hold a group.
    #[inline(always)]
    pub fn group_count(&self) -> u16 {
        self.group_count
    }
}

impl fmt::Debug for ServiceValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceValue")
            .field("id", &self.id)
            .field("affinity_timeout", &self.affinity_timeout)
            .field("flags", &self.flags)
            .field("groups", &self.groups())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_kept_in_order_of_their_tiers() {
        let remote = Group::new(1, 1, 1, 2);
        let local = Group::new(0, 0, 1, 3);

        let value = ServiceValue::try_new(7, &[remote, local]).unwrap();

        assert_eq!(value.groups(), [local, remote]);
    }

    #[test]
    fn a_seventeenth_group_is_refused() {
        let groups = [Group::new(0, 0, 1, 1); MAX_GROUPS + 1];

        assert_eq!(ServiceValue::try_new(7, &groups), None);
        assert!(ServiceValue::try_new(7, &groups[1..]).is_some());
    }
}
