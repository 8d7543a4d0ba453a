//! Who may have a handshake under way: no source may have more than half as many as are still free.
//!
//! One source that opens handshakes and says no more leaves two thirds of the places to others, and a source that has none is
//! let in as long as there is a place at all. Whoever has not shown that its address is its own counts with all others who
//! have not: nobody can use up another's share by writing its address.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Where handshakes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Addresses that may be anybody's.
    Unproven,
    /// An address, or of IPv6 the /64 that one host may have whole.
    Proven(IpAddr),
}

impl Source {
    /// Whoever has shown that it gets what is sent to an address.
    pub(crate) fn proven(address: IpAddr) -> Self {
        Self::Proven(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
            }
        })
    }
}

/// The places for handshakes.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    most: usize,
    all: usize,
    by_source: BTreeMap<Source, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are taken.
    All,
    /// Its source has as many as it may have now.
    Source,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    source: Source,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Taken {
            most,
            all: 0,
            by_source: BTreeMap::new(),
        })))
    }

    /// How many are free.
    #[cfg(test)]
    fn free(&self) -> usize {
        let taken = self.lock();
        taken.most - taken.all
    }

    pub(crate) fn take(&self, source: Source) -> Result<Place, Full> {
        let mut taken = self.lock();
        let free = taken.most - taken.all;
        if free == 0 {
            return Err(Full::All);
        }
        let own = taken.by_source.get(&source).copied().unwrap_or_default();
        if own > free / 2 {
            return Err(Full::Source);
        }
        taken.by_source.insert(source, own + 1);
        taken.all += 1;
        Ok(Place {
            places: self.clone(),
            source,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held, and numbers are whole at any moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(own) = taken.by_source.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                taken.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u8) -> Source {
        Source::proven([192, 0, 2, number].into())
    }

    /// Takes as many as a source gets.
    fn fill(places: &Places, source: Source) -> Vec<Place> {
        std::iter::from_fn(|| places.take(source).ok()).collect()
    }

    #[test]
    fn one_source_leaves_places_for_others() {
        let places = Places::new(256);

        let greedy = fill(&places, source(1));

        assert_eq!(greedy.len(), 86);
        assert_eq!(places.take(source(1)).unwrap_err(), Full::Source);
        assert_eq!(fill(&places, source(2)).len(), 57);
        drop(greedy);
        assert_eq!(places.free(), 256);
    }

    #[test]
    fn a_source_without_a_place_gets_one_as_long_as_there_is_any() {
        let places = Places::new(256);
        let mut held = Vec::new();
        for number in 1..=50 {
            if places.free() > 0 {
                let got = fill(&places, source(number));
                assert!(!got.is_empty(), "source {number} gets none");
                held.extend(got);
            }
        }
        assert_eq!(places.free(), 0);
        assert_eq!(places.take(source(99)).unwrap_err(), Full::All);
        held.pop();
        assert!(places.take(source(99)).is_ok());
    }

    #[test]
    fn the_addresses_of_one_host_are_one_source() {
        for (one, other, are_same) in [
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            let [one, other] = [one, other].map(|text| Source::proven(text.parse().unwrap()));
            assert_eq!(one == other, are_same, "{one:?} {other:?}");
        }
    }
}
