//! Maglev tables: which backend of a group a flow's hash leads to, the same on every node. Key and value of `MAGLEV`.
//!
//! A table's size is a prime of at least a hundred places per backend, which keeps shares within 1 %. It grows with the
//! group: a table of three backends has 307 places in five lines, 960 bytes of kernel memory, so 100,000 such groups take
//! 96 MB, and take them as they come; one size of 16,381 places for all would take 3.3 GB.

/// Places in one entry of `MAGLEV`: 128 bytes of value make the kernel's element 184 bytes, which it rounds to 192.
pub const LINE: usize = 64;

/// The sizes that tables have: primes, each at most a quarter larger than the one before.
///
/// The last serves 6,163 backends within 1 %; larger groups use it too, less evenly.
pub const SIZES: [u32; 36] = [
    211, 307, 401, 503, 601, 809, 1009, 1201, 1511, 1901, 2309, 2903, 3607, 4507, 5701, 7103, 8923,
    11_113, 13_901, 17_317, 21_701, 27_103, 33_911, 42_403, 52_901, 66_221, 82_721, 103_409,
    129_209, 161_611, 201_907, 252_401, 315_517, 394_409, 493_001, 616_307,
];

/// Which of the sizes a table has, counted from one; zero is no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(u8);

impl Size {
    /// No table: a group of one backend, or one whose flows need not meet the same backend on every node.
    pub const NONE: Self = Self(0);

    /// The size of a table for so many backends.
    pub fn for_backends(count: usize) -> Self {
        if count < 2 {
            return Self::NONE;
        }
        let wanted = count.saturating_mul(100);
        let index = SIZES.iter().position(|size| *size as usize >= wanted);
        Self(index.unwrap_or(SIZES.len() - 1) as u8 + 1)
    }

    /// From the number that a group holds.
    #[inline(always)]
    pub fn from_number(number: u8) -> Self {
        Self(number)
    }

    /// The number that a group holds.
    #[inline(always)]
    pub fn number(self) -> u8 {
        self.0
    }

    /// How many places a table has; `None` for no table.
    #[inline(always)]
    pub fn places(self) -> Option<u32> {
        SIZES.get(usize::from(self.0).wrapping_sub(1)).copied()
    }

    /// The place of a flow's hash: its line and where in it; `None` for no table.
    #[inline(always)]
    pub fn place_of(self, hash: u64) -> Option<(u16, usize)> {
        let places = self.places()?;
        let place = ((hash >> 32) * u64::from(places)) >> 32;
        Some(((place / LINE as u64) as u16, place as usize % LINE))
    }
}

/// Which part of which table.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaglevKey {
    service_id: u32,
    cluster: u16,
    line: u16,
}

const _: () = assert!(size_of::<MaglevKey>() == 8);

impl MaglevKey {
    /// A line of the table of a service's group.
    #[inline(always)]
    pub fn new(service_id: u32, cluster: u16, line: u16) -> Self {
        Self {
            service_id,
            cluster,
            line,
        }
    }

    /// The id of its service.
    pub fn service_id(&self) -> u32 {
        self.service_id
    }
}

/// A line of a table: the slots of backends in their group.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaglevValue {
    slots: [u16; LINE],
}

const _: () = assert!(size_of::<MaglevValue>() == 128);

impl MaglevValue {
    /// A line of at most [`LINE`] slots; places beyond them lead to slot zero, and no hash leads there.
    pub fn new(slots: &[u16]) -> Self {
        let mut value = Self { slots: [0; LINE] };
        for (place, slot) in value.slots.iter_mut().zip(slots) {
            *place = *slot;
        }
        value
    }

    /// The slot at a place of the line.
    #[inline(always)]
    pub fn slot(&self, place: usize) -> u16 {
        self.slots[place % LINE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sizes_are_primes_in_rising_order() {
        assert!(SIZES.is_sorted());
        for size in SIZES {
            let mut divisors = (2..).take_while(|d| d * d <= size);
            assert!(divisors.all(|divisor| size % divisor != 0), "{size}");
        }
    }

    #[test]
    fn a_table_has_a_hundred_places_for_each_backend_and_not_many_more() {
        for count in 2..=6163 {
            let places = Size::for_backends(count).places().unwrap() as usize;

            assert!(
                (100 * count..=140 * count + 20).contains(&places),
                "{count}: {places}"
            );
        }
        assert_eq!(Size::for_backends(60_000).places(), Some(616_307));
    }

    #[test]
    fn a_single_backend_needs_no_table() {
        for count in [0, 1] {
            assert_eq!(Size::for_backends(count), Size::NONE);
            assert_eq!(Size::for_backends(count).place_of(7), None);
        }
    }

    #[test]
    fn hashes_reach_all_places_and_none_beyond() {
        let size = Size::for_backends(3);
        let places = size.places().unwrap() as usize;

        let (line, place) = size.place_of(u64::MAX).unwrap();
        assert_eq!(usize::from(line) * LINE + place, places - 1);
        assert_eq!(size.place_of(0), Some((0, 0)));
    }
}
