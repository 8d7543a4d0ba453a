//! Where a peer may be: the configured places in turn, and of each all addresses that it has at the time.

use std::{collections::VecDeque, io, net::SocketAddr, time::Duration};

use cluster_registry::link::{Host, PeerAddress};
use tokio::{net::lookup_host, time::timeout};

/// How long a name may take to resolve; the next attempt asks again.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no address to try.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("no address is configured")]
    NoPlace,
    #[error("{place} is not known: {error}")]
    Unknown {
        place: PeerAddress,
        error: io::Error,
    },
    #[error("{0} has no address")]
    NoAddress(PeerAddress),
    #[error("{0} did not resolve in time")]
    Slow(PeerAddress),
}

/// The places of a peer, and where the search stands.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    places: &'a [PeerAddress],
    current: usize,
    /// The addresses of the current place that were not tried, once it is resolved.
    untried: Option<VecDeque<SocketAddr>>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(places: &'a [PeerAddress]) -> Self {
        Self {
            places,
            current: 0,
            untried: None,
        }
    }

    /// The next address to try. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<SocketAddr, PlaceError> {
        if self.untried.as_ref().is_some_and(VecDeque::is_empty) {
            self.current = (self.current + 1) % self.places.len().max(1);
            self.untried = None;
        }
        let place = self.places.get(self.current).ok_or(PlaceError::NoPlace)?;
        if self.untried.is_none() {
            let resolved = timeout(RESOLVE_TIMEOUT, resolve(place)).await;
            // A place that does not resolve is passed over like one whose addresses were all tried.
            let untried = self.untried.insert(VecDeque::new());
            *untried = match resolved {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    let place = place.clone();
                    return Err(PlaceError::Unknown { place, error });
                }
                Err(_elapsed) => return Err(PlaceError::Slow(place.clone())),
            };
        }
        self.untried
            .as_mut()
            .and_then(VecDeque::pop_front)
            .ok_or_else(|| PlaceError::NoAddress(place.clone()))
    }

    /// The place that was tried last was good: it is tried next, and resolved anew.
    pub(crate) fn stay(&mut self) {
        self.untried = None;
    }
}

async fn resolve(place: &PeerAddress) -> io::Result<VecDeque<SocketAddr>> {
    let port = place.port.get();
    match &place.host {
        Host::Ip(address) => Ok(VecDeque::from([SocketAddr::new(*address, port)])),
        Host::Name(name) => Ok(lookup_host((name.as_str(), port)).await?.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_tried_in_turn() {
        let places = places(&["192.0.2.1:1", "192.0.2.2:2"]);
        let mut places = Places::new(&places);

        let mut tried = Vec::new();
        for _ in 0..3 {
            tried.push(places.next().await.unwrap().port());
        }

        assert_eq!(tried, [1, 2, 1]);
    }

    #[tokio::test]
    async fn a_place_that_was_good_is_tried_again_first() {
        let places = places(&["192.0.2.1:1", "192.0.2.2:2"]);
        let mut places = Places::new(&places);
        places.next().await.unwrap();
        places.next().await.unwrap();

        places.stay();

        assert_eq!(places.next().await.unwrap().port(), 2);
    }

    #[tokio::test]
    async fn a_name_is_resolved_and_one_that_is_unknown_passed_over() {
        let places = places(&["unknown.invalid:1", "localhost:2"]);
        let mut places = Places::new(&places);

        let unknown = places.next().await.unwrap_err().to_string();
        let found = places.next().await.unwrap();

        assert!(unknown.starts_with("unknown.invalid:1"), "{unknown}");
        assert!(found.ip().is_loopback());
        assert_eq!(found.port(), 2);
    }

    #[tokio::test]
    async fn without_a_place_there_is_no_address() {
        let error = Places::new(&[]).next().await.unwrap_err();

        assert!(matches!(error, PlaceError::NoPlace));
    }

    fn places(texts: &[&str]) -> Vec<PeerAddress> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }
}
