//! Clients of services with session affinity go where they went last.

use aya_ebpf::bindings::BPF_ANY;
use node_dp_common::{
    AffinityKey, AffinityValue, BackendValue, Client, DropReason, MemberKey, ServiceValue,
};

use crate::{
    flows::now,
    maps::{AFFINITIES, MEMBERS, count},
};

/// A client of a service, with room for what is looked up and noted of it: programs on devices have no stack left for that.
pub(crate) struct Affinity {
    key: AffinityKey,
    value: AffinityValue,
    member: MemberKey,
}

impl Affinity {
    /// A client of the service with an id.
    #[inline(always)]
    pub(crate) fn new(client: Client, service_id: u32) -> Self {
        let nobody = BackendValue::default();
        Self {
            key: AffinityKey::new(client, service_id),
            value: AffinityValue::new(0, nobody, 0),
            member: MemberKey::new(service_id, 0, nobody),
        }
    }

    /// Turns to a client of the service with an id.
    #[inline(always)]
    pub(crate) fn turn_to(&mut self, client: Client, service_id: u32) {
        self.key = AffinityKey::new(client, service_id);
    }

    /// The backend that the client keeps, and the index of its cluster: as long as it is one of the service's, its cluster
    /// takes connections, and the client has not been away for too long.
    #[inline(always)]
    pub(crate) fn kept(
        &mut self,
        service: &ServiceValue,
        timeout: u32,
        takes: impl Fn(u16) -> bool,
    ) -> Option<(u16, &'static BackendValue)> {
        let held = AFFINITIES.get_ptr_mut(&self.key)?;
        // SAFETY: the entry stays readable until the program ends. It may become another client's meanwhile; whatever is
        // read then, only a backend of this service comes of it.
        let held: &mut AffinityValue = unsafe { &mut *held };
        let now = now();
        if !held.is_fresh(timeout, now) {
            return None;
        }
        self.member = held.member(service.id());
        // SAFETY: a replaced value stays readable until the program ends (RCU), and is never written in place.
        let backend = unsafe { MEMBERS.get(self.member) }?;
        let cluster = self.member.cluster();
        if !takes(cluster) {
            return None;
        }
        held.note(now);
        Some((cluster, backend))
    }

    /// Notes where the client goes from now on.
    #[inline(always)]
    pub(crate) fn keep(&mut self, cluster: u16, backend: &BackendValue) {
        self.value = AffinityValue::new(cluster, *backend, now());
        if AFFINITIES
            .insert(&self.key, &self.value, BPF_ANY.into())
            .is_err()
        {
            count(DropReason::NotRemembered);
        }
    }
}
