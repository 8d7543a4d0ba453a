//! The numbers of keys, which say where each is.

use crate::store::slab::SlotId;

/// The bits that say of which kind a key is, above those of its number within the kind.
const KIND_SHIFT: u32 = 30;

const SINGLE: u32 = 0;
const SERVICE: u32 = 1;
const V4: u32 = 2;
const V6: u32 = 3;

/// The number of a key; that of a key that was removed is given anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct KeyId(u32);

/// Where a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Among those that are of no service.
    Single(SlotId),
    /// With its service's group.
    Service(SlotId),
    /// Among the endpoints with IPv4 addresses.
    V4(SlotId),
    /// Among those with IPv6 addresses.
    V6(SlotId),
}

impl KeyId {
    pub(super) fn single(slot: SlotId) -> Self {
        Self::new(SINGLE, slot)
    }

    pub(super) fn service(slot: SlotId) -> Self {
        Self::new(SERVICE, slot)
    }

    pub(super) fn v4(slot: SlotId) -> Self {
        Self::new(V4, slot)
    }

    pub(super) fn v6(slot: SlotId) -> Self {
        Self::new(V6, slot)
    }

    fn new(kind: u32, slot: SlotId) -> Self {
        let number = slot.number();
        assert!(
            number >> KIND_SHIFT == 0,
            "memory ends before a billion keys do"
        );
        Self(kind << KIND_SHIFT | number)
    }

    pub(super) fn place(self) -> Place {
        let slot = SlotId::from_number(self.0 & ((1 << KIND_SHIFT) - 1));
        match self.0 >> KIND_SHIFT {
            SINGLE => Place::Single(slot),
            SERVICE => Place::Service(slot),
            V4 => Place::V4(slot),
            _ => Place::V6(slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_where_its_key_is() {
        let slot = SlotId::from_number((1 << KIND_SHIFT) - 1);

        assert_eq!(KeyId::single(slot).place(), Place::Single(slot));
        assert_eq!(KeyId::service(slot).place(), Place::Service(slot));
        assert_eq!(KeyId::v4(slot).place(), Place::V4(slot));
        assert_eq!(KeyId::v6(slot).place(), Place::V6(slot));
    }
}
