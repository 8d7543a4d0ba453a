//! What the hooks do, as plain functions of a socket.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use node_dp_common::{
    BackendKey, BackendValue, DropReason, FrontendKey, ServiceValue,
    select::{Seeded, select},
};

use crate::{
    affinity::Affinity,
    flows,
    maps::{BACKENDS, CLUSTERS, LOCAL_ADDRESSES, SERVICES},
    memory,
    socket::Socket,
};

/// What the call on the socket shall do.
#[must_use]
pub(crate) enum Verdict {
    /// Go on with the address that the socket now has.
    Pass,
    /// Fail as a refused connection does.
    Refuse(DropReason),
}

/// A backend may vanish between choosing and reading it. Then the service has changed too: choosing again finds another.
const ATTEMPTS: usize = 2;

/// A socket connects: to a backend, if its peer is a frontend.
#[inline(always)]
pub(crate) fn connect(socket: &Socket) -> Verdict {
    let frontend = socket.peer();
    // SAFETY: the helper takes nothing.
    match backend_of(socket, &frontend, || unsafe { bpf_get_prandom_u32() }) {
        Ok(Some(backend)) => redirect(socket, frontend, backend),
        Ok(None) => {
            memory::forget(socket, &frontend);
            Verdict::Pass
        }
        Err(reason) => Verdict::Refuse(reason),
    }
}

/// A datagram is sent to an address: to a backend, if that is a frontend.
///
/// The socket's cookie is the seed, so that all datagrams of a conversation go to the same backend.
#[inline(always)]
pub(crate) fn send(socket: &Socket) -> Verdict {
    let frontend = socket.peer();
    let seeded = Seeded::new(socket.cookie());
    match backend_of(socket, &frontend, || seeded.draw()) {
        Ok(Some(backend)) => redirect(socket, frontend, backend),
        Ok(None) => Verdict::Pass,
        Err(reason) => Verdict::Refuse(reason),
    }
}

/// The application asks who its peer is, or who sent a datagram: the frontend, if it used one.
#[inline(always)]
pub(crate) fn restore(socket: &Socket) {
    if let Some(frontend) = memory::recall(socket, socket.peer()) {
        let frontend = frontend.parts();
        if socket.can_have_peer(&frontend.0) {
            socket.set_peer(frontend);
        }
    }
}

#[inline(always)]
fn redirect(socket: &Socket, frontend: FrontendKey, backend: BackendValue) -> Verdict {
    let peer = backend.parts();
    if !socket.can_have_peer(&peer.0) {
        return Verdict::Refuse(DropReason::FamilyMismatch);
    }
    memory::remember(socket, frontend, backend);
    socket.set_peer(peer);
    Verdict::Pass
}

/// A backend for a frontend; none if the address is no frontend.
#[inline(always)]
fn backend_of(
    socket: &Socket,
    frontend: &FrontendKey,
    random: impl Fn() -> u32,
) -> Result<Option<BackendValue>, DropReason> {
    for _ in 0..ATTEMPTS {
        let Some(service) = service_of(socket, frontend) else {
            return Ok(None);
        };
        let backend = match service.affinity_timeout() {
            Some(timeout) => keeping(socket, frontend, service, timeout)?,
            None => any_of(service, &random)?.map(|(_, backend)| backend),
        };
        if let Some(backend) = backend {
            return Ok(Some(*backend));
        }
    }
    Err(DropReason::BackendMissing)
}

/// The service at an address and port, or at a node port where the address is one of the node's.
#[inline(always)]
fn service_of(socket: &Socket, frontend: &FrontendKey) -> Option<&'static ServiceValue> {
    // SAFETY: a replaced value stays readable until the program ends (RCU), and is never written in place.
    if let Some(service) = unsafe { SERVICES.get(frontend) } {
        return Some(service);
    }
    let (address, _) = frontend.parts();
    let is_own = if address.is_of_own_namespace() {
        // A pod's loopback is the pod's.
        socket.is_of_node()
    } else {
        // SAFETY: as above.
        unsafe { LOCAL_ADDRESSES.get(address) }.is_some()
    };
    if !is_own {
        return None;
    }
    // SAFETY: as above.
    unsafe { SERVICES.get(frontend.at_own_node()) }
}

/// The backend that the socket's client keeps; none if it vanished just now.
///
/// Two first connections at once draw the same numbers and so meet at one backend. Which one changes from one timeout to
/// the next, so that a client that was away for so long may get another.
#[inline(always)]
fn keeping(
    socket: &Socket,
    frontend: &FrontendKey,
    service: &ServiceValue,
    timeout: u32,
) -> Result<Option<&'static BackendValue>, DropReason> {
    let client = socket.client();
    let era = u64::from(flows::now() / timeout);
    let seeded = Seeded::new(client.hash(frontend).wrapping_add(era));
    let mut affinity = Affinity::new(client, service.id());
    let draw = || seeded.draw();
    if let Some((_, backend)) = affinity.kept(service, timeout, |cluster| takes(cluster, draw)) {
        return Ok(Some(backend));
    }
    let chosen = any_of(service, &draw)?;
    Ok(chosen.map(|(cluster, backend)| {
        affinity.keep(cluster, backend);
        backend
    }))
}

/// A backend of a service, and the index of its cluster; none if it vanished just now.
#[inline(always)]
fn any_of(
    service: &ServiceValue,
    random: &impl Fn() -> u32,
) -> Result<Option<(u16, &'static BackendValue)>, DropReason> {
    let choice = select(service, |cluster| takes(cluster, random), random)?;
    let key = BackendKey::new(service.id(), choice.cluster, choice.slot);
    // SAFETY: a replaced value stays readable until the program ends (RCU), and is never written in place.
    let backend = unsafe { BACKENDS.get(key) };
    Ok(backend.map(|backend| (choice.cluster, backend)))
}

/// Whether the cluster of an index takes a new connection.
#[inline(always)]
fn takes(cluster: u16, random: impl Fn() -> u32) -> bool {
    let cluster = CLUSTERS.get(u32::from(cluster));
    cluster.is_some_and(|cluster| cluster.takes(random))
}
