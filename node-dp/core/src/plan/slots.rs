//! Places backends in the slots of their group so that as few slots as possible change.

use std::collections::BTreeSet;

use node_dp_common::{BackendKey, BackendValue};

/// The most slots of a group: their number has sixteen bits.
const MAX_SLOTS: usize = u16::MAX as usize;

/// The wanted backends in slots without holes, and how many do not fit.
///
/// A backend that has a slot keeps it unless the group shrinks below it; the slots of those that go are taken by new ones,
/// then by the last ones.
pub(super) fn assign(
    current: impl Iterator<Item = (BackendKey, BackendValue)>,
    wanted: &BTreeSet<BackendValue>,
) -> (Vec<BackendValue>, usize) {
    let dropped = wanted.len().saturating_sub(MAX_SLOTS);
    let mut homeless: BTreeSet<BackendValue> = wanted.iter().take(MAX_SLOTS).copied().collect();
    let mut slots: Vec<Option<BackendValue>> = Vec::with_capacity(homeless.len());
    for (key, backend) in current {
        let slot = usize::from(key.slot());
        if slots.len() <= slot {
            slots.resize(slot + 1, None);
        }
        // Each wanted backend keeps one slot, even if the maps hold it twice.
        slots[slot] = homeless.take(&backend);
    }
    for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
        *slot = homeless.pop_first();
    }

    let mut placed: Vec<BackendValue> = Vec::with_capacity(slots.len());
    let mut rest: std::collections::VecDeque<Option<BackendValue>> = slots.into();
    while let Some(slot) = rest.pop_front() {
        let last = || std::iter::from_fn(|| rest.pop_back()).flatten().next();
        placed.extend(slot.or_else(last));
    }
    placed.extend(homeless);
    (placed, dropped)
}

/// The slots under their keys.
pub(super) fn keyed(
    service_id: u32,
    cluster: u16,
    slots: &[BackendValue],
) -> impl Iterator<Item = (BackendKey, BackendValue)> {
    (0..=u16::MAX)
        .zip(slots)
        .map(move |(slot, backend)| (BackendKey::new(service_id, cluster, slot), *backend))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_leaving_backend_moves_only_the_last_one() {
        let before = [1, 2, 3, 4].map(backend);
        let wanted = [1, 3, 4].map(backend).into();

        let (after, _) = assign(keyed(1, 0, &before), &wanted);

        assert_eq!(after, [1, 4, 3].map(backend));
    }

    #[test]
    fn a_new_backend_takes_the_slot_of_one_that_leaves() {
        let before = [1, 2, 3].map(backend);
        let wanted = [1, 3, 9].map(backend).into();

        let (after, _) = assign(keyed(1, 0, &before), &wanted);

        assert_eq!(after, [1, 9, 3].map(backend));
    }

    #[test]
    fn holes_and_doubles_in_what_is_read_back_are_healed() {
        let key = |slot| BackendKey::new(1, 0, slot);
        let current = [
            (key(1), backend(5)),
            (key(4), backend(5)),
            (key(9), backend(6)),
        ];
        let wanted = [5, 6].map(backend).into();

        let (after, _) = assign(current.into_iter(), &wanted);

        assert_eq!(after, [6, 5].map(backend));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let wanted: BTreeSet<BackendValue> = (0..70_000).map(backend).collect();

        let (after, dropped) = assign(std::iter::empty(), &wanted);

        assert_eq!(after.len(), MAX_SLOTS);
        assert_eq!(dropped, 70_000 - MAX_SLOTS);
    }

    proptest! {
        #[test]
        fn the_slots_hold_just_what_is_wanted_and_few_of_them_change(
            before in prop::collection::btree_set(0..40u32, 0..20),
            wanted in prop::collection::btree_set(0..40u32, 0..20),
        ) {
            let before: Vec<BackendValue> = before.into_iter().map(backend).collect();
            let wanted: BTreeSet<BackendValue> = wanted.into_iter().map(backend).collect();

            let (after, _) = assign(keyed(1, 0, &before), &wanted);

            prop_assert_eq!(&after.iter().copied().collect::<BTreeSet<_>>(), &wanted);
            prop_assert_eq!(after.len(), wanted.len());
            let kept = before.iter().zip(&after).filter(|(b, a)| b == a).count();
            let common = before.iter().filter(|b| wanted.contains(b)).count();
            let left = before.len() - common;
            prop_assert!(kept + left >= common);
        }
    }

    fn backend(number: u32) -> BackendValue {
        BackendValue::new(std::net::Ipv4Addr::from(0x0a00_0000 + number), 80)
    }
}
