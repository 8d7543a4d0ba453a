//! The endpoints of one service in one cluster, by address.

use std::{collections::BTreeMap, net::IpAddr};

use crate::store::slab::SlotId;

/// Above this, endpoints are in a tree: moving what comes after a new one takes longer than a tree's memory is worth.
const MAX_FEW: usize = 1024;

/// The slots of endpoints, in the order of their addresses.
#[derive(Debug)]
pub(super) enum Members {
    /// The slots themselves know their addresses.
    Few(Vec<SlotId>),
    Many(BTreeMap<IpAddr, SlotId>),
}

impl Default for Members {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Members {
    pub(super) fn get(
        &self,
        address: IpAddr,
        address_of: impl Fn(SlotId) -> Option<IpAddr>,
    ) -> Option<SlotId> {
        match self {
            // Those that come in the order of their addresses are looked for in vain.
            Self::Few(few) if is_beyond(few, address, &address_of) => None,
            Self::Few(few) => {
                let at = few.binary_search_by_key(&Some(address), |slot| address_of(*slot));
                few.get(at.ok()?).copied()
            }
            Self::Many(many) => many.get(&address).copied(),
        }
    }

    pub(super) fn insert(
        &mut self,
        address: IpAddr,
        slot: SlotId,
        address_of: impl Fn(SlotId) -> Option<IpAddr>,
    ) {
        if let Self::Few(few) = self
            && few.len() == MAX_FEW
        {
            let known = few.drain(..);
            let many = known.filter_map(|slot| Some((address_of(slot)?, slot)));
            *self = Self::Many(many.collect());
        }
        match self {
            Self::Few(few) if is_beyond(few, address, &address_of) => few.push(slot),
            Self::Few(few) => {
                let at = few.partition_point(|slot| address_of(*slot) < Some(address));
                few.insert(at, slot);
            }
            Self::Many(many) => {
                many.insert(address, slot);
            }
        }
    }

    pub(super) fn remove(&mut self, address: IpAddr, slot: SlotId) {
        match self {
            Self::Few(few) => few.retain(|known| *known != slot),
            Self::Many(many) => {
                many.remove(&address);
                // Well below the number at which it would grow into a tree again.
                if many.len() < MAX_FEW / 2 {
                    *self = Self::Few(std::mem::take(many).into_values().collect());
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SlotId> {
        let (few, many) = match self {
            Self::Few(few) => (few.as_slice(), None),
            Self::Many(many) => (&[][..], Some(many.values())),
        };
        let many = many.into_iter().flatten();
        few.iter().chain(many).copied()
    }

    pub(super) fn iter_from(
        &self,
        from: IpAddr,
        address_of: impl Fn(SlotId) -> Option<IpAddr>,
    ) -> impl Iterator<Item = SlotId> {
        let (few, many) = match self {
            Self::Few(few) => {
                let before = few.partition_point(|slot| address_of(*slot) < Some(from));
                (few.split_at(before).1, None)
            }
            Self::Many(many) => (&[][..], Some(many.range(from..))),
        };
        let many = many.into_iter().flatten().map(|(_, slot)| slot);
        few.iter().chain(many).copied()
    }
}

/// Whether an address comes after those of all slots.
fn is_beyond(
    few: &[SlotId],
    address: IpAddr,
    address_of: impl Fn(SlotId) -> Option<IpAddr>,
) -> bool {
    let last = few.last().and_then(|slot| address_of(*slot));
    last.is_none_or(|last| last < address)
}
