//! What a socket remembers of the frontends it dialled or sent to.

use aya_ebpf::bindings::BPF_ANY;
use node_dp_common::{BackendValue, DropReason, FrontendKey, PeerValue, RevNatKey, RevNatValue};

use crate::{
    maps::{PEERS, REV_NAT, count},
    socket::Socket,
};

/// The protocol whose sockets can have several peers at once.
const UDP: u8 = 17;

/// Notes that the socket's traffic to a frontend goes to a backend.
#[inline(always)]
pub(crate) fn remember(socket: &Socket, frontend: FrontendKey, backend: BackendValue) {
    let mut fresh = PeerValue::new(frontend, backend);
    // SAFETY: the context belongs to the running program; what comes back is null or the socket's own value.
    let noted = unsafe { PEERS.get_ptr_mut(socket.context()).as_mut() };
    match noted {
        // The usual case of datagrams: nothing changed, so nothing is written.
        Some(noted) if *noted == fresh => return,
        Some(noted) => *noted = fresh,
        None => {
            // SAFETY: as above.
            let created =
                unsafe { PEERS.get_or_insert_ptr_mut(socket.context(), Some(&mut fresh)) };
            if created.is_null() {
                count(DropReason::NotRemembered);
            }
        }
    }
    if frontend.protocol() == UDP {
        let (address, port) = backend.parts();
        let key = RevNatKey::new(socket.cookie(), address, port, UDP);
        if REV_NAT
            .insert(key, RevNatValue::new(frontend), BPF_ANY.into())
            .is_err()
        {
            count(DropReason::NotRemembered);
        }
    }
}

/// Forgets what the socket dialled: its peer is no frontend.
#[inline(always)]
pub(crate) fn forget(socket: &Socket) {
    // SAFETY: the kernel hands a valid context to the program, with the socket in it.
    let sk = unsafe { (*socket.as_sock_addr()).__bindgen_anon_1.sk };
    // SAFETY: as above. That there was nothing to forget is the usual case, and no error.
    let _: Result<(), i32> = unsafe { PEERS.delete(sk) };
}

/// The frontend that the socket's peer stands for, if it is a backend that the socket was sent to.
#[inline(always)]
pub(crate) fn recall(socket: &Socket, peer: FrontendKey) -> Option<RevNatValue> {
    let (address, port) = peer.parts();
    // SAFETY: the context belongs to the running program; what comes back is null or the socket's own value.
    let noted = unsafe { PEERS.get_ptr_mut(socket.context()).as_ref() }?;
    if let Some(frontend) = noted.frontend_of(address, port) {
        return Some(frontend);
    }
    if peer.protocol() != UDP {
        return None;
    }
    let key = RevNatKey::new(socket.cookie(), address, port, UDP);
    // SAFETY: the value is copied at once; only an insert of this same socket could change it meanwhile.
    unsafe { REV_NAT.get(key) }.copied()
}
