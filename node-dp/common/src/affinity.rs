//! Session affinity: the backend that a client had last, key and value of `AFFINITIES`, and whom it may keep, the key of
//! `MEMBERS`.
//!
//! Slots of backends move when others leave, so a client holds its backend by address and not by slot.

use crate::{
    address::{Address, Port},
    backend::BackendValue,
    frontend::FrontendKey,
    tuple::Tuple,
};

/// Who asks: what stays the same from one connection of a client to the next.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    address: Address,
    kind: u32,
}

/// The client is known by its address.
const ADDRESS: u32 = 0;

/// The client is known by the network namespace of its socket: before it connects, it has no address yet.
const NAMESPACE: u32 = 1;

impl Client {
    /// The client at an address.
    #[inline(always)]
    pub fn at_address(address: Address) -> Self {
        Self {
            address,
            kind: ADDRESS,
        }
    }

    /// The client whose sockets are in the network namespace of a cookie.
    #[inline(always)]
    pub fn in_namespace(cookie: u64) -> Self {
        Self {
            address: Address::from_v6_words([0, 0, (cookie >> 32) as u32, cookie as u32]),
            kind: NAMESPACE,
        }
    }

    /// A number that spreads the clients of a frontend evenly, the same on every node for one that is known by its address.
    #[inline(always)]
    pub fn hash(&self, frontend: &FrontendKey) -> u64 {
        let (destination, destination_port) = frontend.parts();
        let tuple = Tuple {
            source: self.address,
            destination,
            destination_port,
            source_port: Port::default(),
        };
        tuple.hash(frontend.protocol())
    }
}

/// A client of a service.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityKey {
    client: Client,
    service_id: u32,
}

const _: () = assert!(size_of::<AffinityKey>() == 24);

impl AffinityKey {
    /// A client of the service with an id.
    #[inline(always)]
    pub fn new(client: Client, service_id: u32) -> Self {
        Self { client, service_id }
    }
}

/// The backend that a client had last, and when.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityValue {
    backend: Address,
    port: Port,
    cluster: u16,
    last_seen: u32,
}

const _: () = assert!(size_of::<AffinityValue>() == 24);

impl AffinityValue {
    /// A backend of the cluster with an index, `now` in seconds since boot.
    #[inline(always)]
    pub fn new(cluster: u16, backend: BackendValue, now: u32) -> Self {
        let (backend, port) = backend.parts();
        Self {
            backend,
            port,
            cluster,
            last_seen: now,
        }
    }

    /// Whether the client's last connection is less than `timeout` seconds ago.
    #[inline(always)]
    pub fn is_fresh(&self, timeout: u32, now: u32) -> bool {
        now.wrapping_sub(self.last_seen) < timeout
    }

    /// Notes a connection; writes only what changes, as all CPUs read these bytes.
    #[inline(always)]
    pub fn note(&mut self, now: u32) {
        if self.last_seen != now {
            self.last_seen = now;
        }
    }

    /// The backend as one of a service.
    #[inline(always)]
    pub fn member(&self, service_id: u32) -> MemberKey {
        MemberKey {
            service_id,
            cluster: self.cluster,
            port: self.port,
            address: self.backend,
        }
    }
}

/// A backend that clients of a service may keep.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberKey {
    service_id: u32,
    cluster: u16,
    port: Port,
    address: Address,
}

const _: () = assert!(size_of::<MemberKey>() == 24);

impl MemberKey {
    /// The least key of a service.
    pub fn first_of(service_id: u32) -> Self {
        Self {
            service_id,
            cluster: 0,
            port: Port::default(),
            address: Address::default(),
        }
    }

    /// A backend of a service in the cluster with an index.
    #[inline(always)]
    pub fn new(service_id: u32, cluster: u16, backend: BackendValue) -> Self {
        let (address, port) = backend.parts();
        Self {
            service_id,
            cluster,
            port,
            address,
        }
    }

    /// The id of its service.
    pub fn service_id(&self) -> u32 {
        self.service_id
    }

    /// The index of its cluster.
    #[inline(always)]
    pub fn cluster(&self) -> u16 {
        self.cluster
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_client_is_forgotten_when_its_timeout_has_passed_since_its_last_connection() {
        let mut value = AffinityValue::new(0, backend(), 100);
        assert!(value.is_fresh(60, 159));
        assert!(!value.is_fresh(60, 160));

        value.note(159);

        assert!(value.is_fresh(60, 218));
        assert!(!value.is_fresh(60, 219));
    }

    #[test]
    fn what_a_client_holds_is_what_the_service_has() {
        let value = AffinityValue::new(3, backend(), 0);

        assert_eq!(value.member(7), MemberKey::new(7, 3, backend()));
        assert_ne!(value.member(7), MemberKey::new(7, 4, backend()));
    }

    #[test]
    fn a_namespace_is_no_address() {
        let cookie = 0x0123_4567_89ab_cdef;
        let words = [0, 0, 0x0123_4567, 0x89ab_cdef];

        let namespace = Client::in_namespace(cookie);

        assert_ne!(namespace, Client::at_address(Address::from_v6_words(words)));
        assert_ne!(namespace, Client::in_namespace(cookie + 1));
    }

    #[test]
    fn clients_of_one_frontend_spread_evenly() {
        let frontend = FrontendKey::new(Ipv4Addr::new(10, 96, 0, 1), 80, 6);
        let mut counts = [0u32; 16];
        for number in 0..16_000 {
            let client = Client::at_address(Ipv4Addr::from(0x0a00_0000 + number).into());
            counts[(client.hash(&frontend) >> 60) as usize] += 1;
        }

        for count in counts {
            assert!((850..1150).contains(&count), "{count}");
        }
    }

    fn backend() -> BackendValue {
        BackendValue::new(Ipv4Addr::new(10, 1, 0, 1), 8080)
    }
}
