//! Which backend a packet's frontend leads to.

use aya_ebpf::btf_maps::lpm_trie::Key;
use node_dp_common::{
    Address, BackendKey, BackendValue, Client, DropReason, Flow, FlowKey, FrontendKey, Group,
    IN_CLUSTERS, LOCAL_CLUSTER, MaglevKey, ServiceValue, SourceKey, Tuple,
    select::{Seeded, any_slot, select_group},
};

use crate::{
    affinity::Affinity,
    maps::{BACKENDS, CLUSTERS, LOCAL_ADDRESSES, MAGLEV, NODE, SERVICES, SOURCE_RANGES},
};

/// Routes a flow to a backend by what its client dials; false if that is no frontend.
///
/// The flow's hash decides, so that every node comes to the same.
#[inline(always)]
pub(crate) fn route(
    key: &FlowKey,
    flow: &mut Flow,
    affinity: &mut Affinity,
) -> Result<bool, DropReason> {
    let tuple = key.tuple();
    let protocol = key.protocol();
    let frontend = FrontendKey::from_parts(tuple.destination, tuple.destination_port, protocol);
    let Some(service) = service_of(&frontend) else {
        return Ok(false);
    };
    if service.is_restricted() && has_source(service.id(), tuple.source) == service.denies_sources()
    {
        return Err(DropReason::SourceRefused);
    }
    let (cluster, backend) = match service.affinity_timeout() {
        Some(timeout) => {
            let client = Client::at_address(tuple.source);
            affinity.turn_to(client, service.id());
            keeping(client.hash(&frontend), affinity, service, timeout)?
        }
        None => backend_of(service, tuple.hash(protocol))?,
    };
    let (address, port) = backend.parts();
    if address.is_v4() != tuple.source.is_v4() {
        return Err(DropReason::FamilyMismatch);
    }
    flow.masquerade = masquerade(&tuple, service, cluster, backend)?;
    flow.protocol = protocol;
    flow.dialled = tuple;
    flow.routed = tuple;
    flow.routed.destination = address;
    flow.routed.destination_port = port;
    // It may dial the backend itself too, which nothing here would notice until replies are taken for the flow's.
    if !flow.is_masqueraded() && has_source(IN_CLUSTERS, tuple.source) {
        flow.give_up_port();
    }
    Ok(true)
}

/// The service at an address and port: for who comes from outside, at a node port, or for everybody.
#[inline(always)]
fn service_of(frontend: &FrontendKey) -> Option<&'static ServiceValue> {
    let outside = frontend.from_outside();
    // SAFETY: a replaced value stays readable until the program ends (RCU), and is never written in place.
    if let Some(service) = unsafe { SERVICES.get(outside) } {
        return Some(service);
    }
    // SAFETY: as above.
    let is_local = unsafe { LOCAL_ADDRESSES.get(frontend.parts().0) }.is_some();
    if is_local {
        // SAFETY: as above.
        if let Some(service) = unsafe { SERVICES.get(outside.at_any_address()) } {
            return Some(service);
        }
    }
    // SAFETY: as above.
    unsafe { SERVICES.get(frontend) }
}

#[inline(always)]
fn has_source(service_id: u32, client: Address) -> bool {
    let key = Key::new(SourceKey::BITS, SourceKey::new(service_id, client));
    SOURCE_RANGES.get(&key).is_some()
}

/// The backend that a client keeps, and the index of its cluster.
///
/// The first one follows from the client's address without its port, so that other nodes choose it too.
#[inline(always)]
fn keeping(
    hash: u64,
    affinity: &mut Affinity,
    service: &ServiceValue,
    timeout: u32,
) -> Result<(u16, &'static BackendValue), DropReason> {
    let random = Seeded::new(hash);
    let takes = |cluster| takes(cluster, &random);
    if let Some(kept) = affinity.kept(service, timeout, takes) {
        return Ok(kept);
    }
    let (cluster, backend) = backend_of(service, hash)?;
    affinity.keep(cluster, backend);
    Ok((cluster, backend))
}

/// The backend that a hash leads to, and the index of its cluster.
#[inline(always)]
fn backend_of(
    service: &ServiceValue,
    hash: u64,
) -> Result<(u16, &'static BackendValue), DropReason> {
    let random = Seeded::new(hash);
    let group = select_group(service, |cluster| takes(cluster, &random), || random.draw())?;
    let slot = slot_of(service.id(), &group, hash);
    let key = BackendKey::new(service.id(), group.cluster(), slot);
    // SAFETY: a replaced value stays readable until the program ends (RCU), and is never written in place.
    let backend = unsafe { BACKENDS.get(key) };
    let backend = backend.ok_or(DropReason::BackendMissing)?;
    Ok((group.cluster(), backend))
}

/// Whether the cluster of an index takes a new connection.
#[inline(always)]
fn takes(cluster: u16, random: &Seeded) -> bool {
    let cluster = CLUSTERS.get(u32::from(cluster));
    cluster.is_some_and(|cluster| cluster.takes(|| random.draw()))
}

/// The slot by the group's Maglev table; by the hash alone where it has none, or its line is not there yet.
#[inline(always)]
fn slot_of(service_id: u32, group: &Group, hash: u64) -> u16 {
    let any = || any_slot(group, || (hash >> 32) as u32);
    let Some((line, place)) = group.maglev().place_of(hash) else {
        return any();
    };
    let key = MaglevKey::new(service_id, group.cluster(), line);
    // SAFETY: a replaced value stays readable until the program ends (RCU), and is never written in place.
    let slot = unsafe { MAGLEV.get(key) }.map(|line| line.slot(place));
    slot.filter(|slot| *slot < group.count())
        .unwrap_or_else(any)
}

/// The address that must stand for the client so that replies pass this node: where the client is outside the cluster and
/// the backend on another node, or where a backend dials itself.
#[inline(always)]
fn masquerade(
    tuple: &Tuple,
    service: &ServiceValue,
    cluster: u16,
    backend: &BackendValue,
) -> Result<Address, DropReason> {
    let is_hairpin = backend.parts().0 == tuple.source;
    if !is_hairpin && (!service.is_external() || backend.is_local()) {
        return Ok(Address::default());
    }
    let is_tunnelled = cluster != LOCAL_CLUSTER;
    NODE.get(0)
        .and_then(|node| node.masquerade(tuple.source.is_v4(), is_tunnelled))
        .ok_or(DropReason::NoMasqueradeAddress)
}
