//! Fills Maglev tables, so that every node sends a flow to the same backend, and few flows move when backends do.
//!
//! Each backend has an order of its own in which it would take the places, from a hash of its address and port. They take
//! turns until all places are taken. Nothing depends on the slots that backends have on one node.

use std::collections::BTreeMap;

use node_dp_common::{
    BackendValue, MaglevKey, MaglevValue, Tuple,
    maglev::{LINE, Size},
};

use crate::image::Image;

/// The table of a group.
pub(super) struct Table {
    pub(super) size: Size,
    pub(super) lines: BTreeMap<MaglevKey, MaglevValue>,
}

/// The table of a group of a service, by its id and cluster's index: the one that the image holds, if its slots are the same.
pub(super) fn of(image: &Image, (id, cluster): (u32, u16), slots: &[BackendValue]) -> Table {
    let size = Size::for_backends(slots.len());
    let lines_of = |image: &Image| -> BTreeMap<MaglevKey, MaglevValue> {
        let first = MaglevKey::new(id, cluster, 0);
        let last = MaglevKey::new(id, cluster, u16::MAX);
        let lines = image.maglev.range(first..=last);
        lines.map(|(key, line)| (*key, *line)).collect()
    };
    let held = lines_of(image);
    let wanted = size
        .places()
        .map_or(0, |places| places.div_ceil(LINE as u32));
    let is_unchanged = image
        .group(id, cluster)
        .map(|(_, value)| value)
        .eq(slots.iter().copied());
    if is_unchanged && u32::try_from(held.len()) == Ok(wanted) {
        return Table { size, lines: held };
    }
    let places = fill(slots, size);
    let lines = (0..=u16::MAX)
        .zip(places.chunks(LINE))
        .map(|(line, slots)| (MaglevKey::new(id, cluster, line), MaglevValue::new(slots)));
    Table {
        size,
        lines: lines.collect(),
    }
}

/// The slot of each place.
fn fill(slots: &[BackendValue], size: Size) -> Vec<u16> {
    let Some(places) = size.places() else {
        return Vec::new();
    };
    let mut backends: Vec<(BackendValue, u16)> = slots.iter().copied().zip(0..).collect();
    // Whose turn comes first must not depend on slots either.
    backends.sort_unstable_by_key(|(backend, _)| backend.parts());
    let mut orders: Vec<Order> = backends
        .iter()
        .map(|(backend, slot)| Order::new(backend, *slot, places))
        .collect();

    let mut table = vec![None; places as usize];
    let mut free = table.len();
    while free > 0 {
        for order in orders.iter_mut().take(free) {
            while table[order.next as usize].is_some() {
                order.advance(places);
            }
            table[order.next as usize] = Some(order.slot);
        }
        free = free.saturating_sub(orders.len());
    }
    table.into_iter().flatten().collect()
}

/// The places as one backend would take them: from an offset on, each `step` after the one before. As the number of places
/// is a prime, this reaches all of them.
struct Order {
    slot: u16,
    next: u32,
    step: u32,
}

impl Order {
    fn new(backend: &BackendValue, slot: u16, places: u32) -> Self {
        let (destination, destination_port) = backend.parts();
        let tuple = Tuple {
            destination,
            destination_port,
            ..Tuple::default()
        };
        let below = |hash: u64, bound: u32| (((hash >> 32) * u64::from(bound)) >> 32) as u32;
        Self {
            slot,
            next: below(tuple.hash(0), places),
            step: below(tuple.hash(1), places - 1) + 1,
        }
    }

    fn advance(&mut self, places: u32) {
        self.next = (self.next + self.step) % places;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_within_one_percent_of_each_other() {
        for count in [2, 3, 10, 100, 1000] {
            let backends: Vec<BackendValue> = (0..count).map(backend).collect();
            let mut shares = vec![0u32; backends.len()];
            let table = fill(&backends, Size::for_backends(backends.len()));
            for slot in &table {
                shares[usize::from(*slot)] += 1;
            }

            let even = table.len() as f64 / f64::from(count);
            for share in shares {
                assert!(
                    (f64::from(share) - even).abs() <= even * 0.01 + 1.0,
                    "{share} of {even}"
                );
            }
        }
    }

    #[test]
    fn a_backend_that_goes_moves_few_flows_of_the_others() {
        let before: Vec<BackendValue> = (0..100).map(backend).collect();
        let size = Size::for_backends(before.len());
        let [old, new] = [&before[..], &before[..99]].map(|backends| fill(backends, size));

        let others = old.iter().filter(|slot| **slot != 99).count();
        let moved = old
            .iter()
            .zip(&new)
            .filter(|(old, new)| **old != 99 && old != new);

        let share = moved.count() as f64 / others as f64;
        assert!(share < 1.0 / 50.0, "{share}");
    }

    proptest! {
        #[test]
        fn the_table_does_not_depend_on_slots(
            numbers in prop::collection::btree_set(0..1000u32, 2..40),
            turn in 0..40usize,
        ) {
            let backends: Vec<BackendValue> = numbers.into_iter().map(backend).collect();
            let mut turned = backends.clone();
            turned.rotate_left(turn % backends.len());
            let meant = |slots: &[BackendValue]| -> Vec<BackendValue> {
                let table = fill(slots, Size::for_backends(slots.len()));
                table.into_iter().map(|slot| slots[usize::from(slot)]).collect()
            };

            prop_assert_eq!(meant(&backends), meant(&turned));
        }
    }

    fn backend(number: u32) -> BackendValue {
        BackendValue::new(Ipv4Addr::from(0x0a00_0000 + number), 80)
    }
}
