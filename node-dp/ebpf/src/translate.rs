//! What the hooks do, as plain functions of a socket.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use node_dp_common::{
    BackendKey, BackendValue, DropReason, FrontendKey,
    select::{Seeded, select},
};

use crate::{
    maps::{BACKENDS, CLUSTERS, SERVICES},
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
    match backend_of(&frontend, || unsafe { bpf_get_prandom_u32() }) {
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
    match backend_of(&frontend, || seeded.draw()) {
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
    frontend: &FrontendKey,
    random: impl Fn() -> u32,
) -> Result<Option<BackendValue>, DropReason> {
    for _ in 0..ATTEMPTS {
        // SAFETY: a replaced value stays readable until the program ends (RCU), and is never written in place.
        let Some(service) = (unsafe { SERVICES.get(frontend) }) else {
            return Ok(None);
        };
        let takes = |cluster| {
            CLUSTERS
                .get(u32::from(cluster))
                .is_some_and(|cluster| cluster.takes(&random))
        };
        let choice = select(service, takes, &random)?;
        let key = BackendKey::new(service.id(), choice.cluster, choice.slot);
        // SAFETY: as above.
        if let Some(backend) = unsafe { BACKENDS.get(key) } {
            return Ok(Some(*backend));
        }
    }
    Err(DropReason::BackendMissing)
}
