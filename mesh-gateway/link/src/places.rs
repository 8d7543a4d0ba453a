//! Where a peer may be: the addresses that a configured place has at the time.

use std::{io, net::SocketAddr, time::Duration};

use cluster_registry::link::{Host, PeerAddress};
use tokio::{net::lookup_host, time::timeout};

/// How long a name may take to resolve; the next attempt asks again.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no address to try.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
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

/// The address of a place that is not a name.
pub(crate) fn literal(place: &PeerAddress) -> Option<SocketAddr> {
    match place.host {
        Host::Ip(address) => Some(SocketAddr::new(address, place.port.get())),
        Host::Name(_) => None,
    }
}

/// All addresses of a place, in the order that the system prefers.
pub(crate) async fn resolve(place: &PeerAddress) -> Result<Vec<SocketAddr>, PlaceError> {
    let port = place.port.get();
    let name = match &place.host {
        Host::Ip(address) => return Ok(vec![SocketAddr::new(*address, port)]),
        Host::Name(name) => name,
    };
    match timeout(RESOLVE_TIMEOUT, lookup_host((name.as_str(), port))).await {
        Ok(Ok(found)) => {
            let found: Vec<SocketAddr> = found.collect();
            if found.is_empty() {
                return Err(PlaceError::NoAddress(place.clone()));
            }
            Ok(found)
        }
        Ok(Err(error)) => Err(PlaceError::Unknown {
            place: place.clone(),
            error,
        }),
        Err(_elapsed) => Err(PlaceError::Slow(place.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_has_all_its_addresses_and_an_unknown_one_a_reason() {
        let found = resolve(&"localhost:2".parse().unwrap()).await.unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 2));

        let unknown = resolve(&"unknown.invalid:1".parse().unwrap()).await;
        let unknown = unknown.unwrap_err().to_string();
        assert!(unknown.starts_with("unknown.invalid:1"), "{unknown}");
    }
}
