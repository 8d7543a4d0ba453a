//! What stands under keys: each kind of key has slots of its own, as long as what it needs.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    num::NonZeroU64,
    sync::Arc,
};

use super::Members;
use crate::{
    endpoint::Endpoint,
    name::ServiceName,
    resource::{Key, Resource},
    service::Service,
    store::{Revision, slab::SlotId},
};

/// The newest value of a key, `None` once it is gone, and the revision that made it so.
#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) value: Option<T>,
    since: NonZeroU64,
}

impl<T: PartialEq> Held<T> {
    pub(super) fn new(value: T, since: NonZeroU64) -> Self {
        Self {
            value: Some(value),
            since,
        }
    }

    /// Takes a value, and returns the one before; `None` when that changes nothing.
    pub(super) fn replace(&mut self, value: Option<T>, since: NonZeroU64) -> Option<Option<T>> {
        if self.value == value {
            return None;
        }
        self.since = since;
        Some(std::mem::replace(&mut self.value, value))
    }

    pub(super) fn state(&self) -> State {
        State {
            revision: Revision(self.since.get()),
            is_present: self.value.is_some(),
        }
    }
}

/// What is known of a key without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct State {
    pub(in crate::store) revision: Revision,
    /// Whether it has a value; if not, it is a tombstone.
    pub(in crate::store) is_present: bool,
}

/// An endpoint; its service's number says the rest of its key.
#[derive(Debug)]
pub(super) struct EndpointSlot<A> {
    pub(super) group: SlotId,
    pub(super) address: A,
    pub(super) held: Held<Arc<Endpoint>>,
}

/// A service and its endpoints in one cluster; either may be there without the other.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) part: SlotId,
    pub(super) name: ServiceName,
    pub(super) service: Option<Held<Arc<Service>>>,
    pub(super) endpoints: Members,
}

/// A key that is of no service.
#[derive(Debug)]
pub(super) struct SingleSlot {
    pub(super) key: Key,
    pub(super) held: Held<Resource>,
}

// There is one for every key, be it taken or free.
const _: () = assert!(size_of::<Option<EndpointSlot<Ipv4Addr>>>() == 24);
const _: () = assert!(size_of::<Option<EndpointSlot<Ipv6Addr>>>() == 40);
const _: () = assert!(size_of::<Option<Group>>() == 48);
