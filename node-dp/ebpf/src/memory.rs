//! What a socket remembers of the frontends it dialled or sent to.

use aya_ebpf::bindings::BPF_ANY;
use node_dp_common::{BackendValue, DropReason, FrontendKey, PeerValue, RevNatKey, RevNatValue};

use crate::{
    maps::{PEERS, REV_NAT, count},
    socket::Socket,
};

/// The protocol whose sockets have several peers, and hear from strangers.
const UDP: u8 = 17;

/// Notes that the socket's traffic to a frontend goes to a backend.
///
/// For TCP this is part of every connect, and a value on the socket would cost it 2.5 % where an LRU entry costs 1 %
/// (connect, request and close). For UDP the value on the socket pays off: the sockets that never used a frontend, which
/// are most that receive, are told apart by one look at it.
#[inline(always)]
pub(crate) fn remember(socket: &Socket, frontend: FrontendKey, backend: BackendValue) {
    if frontend.protocol() == UDP {
        remember_on_socket(socket, PeerValue::new(frontend, backend));
    } else {
        let (address, port) = backend.parts();
        let key = RevNatKey::new(socket.cookie(), address, port, frontend.protocol());
        insert(key, RevNatValue::new(frontend));
    }
}

/// Forgets what the socket dialled: its peer is no frontend.
#[inline(always)]
pub(crate) fn forget(socket: &Socket, peer: &FrontendKey) {
    if peer.protocol() != UDP {
        return;
    }
    // SAFETY: the kernel hands a valid context to the program, with the socket in it.
    let sk = unsafe { (*socket.as_sock_addr()).__bindgen_anon_1.sk };
    // SAFETY: as above. That there was nothing to forget is the usual case, and no error.
    let _: Result<(), i32> = unsafe { PEERS.delete(sk) };
}

/// The frontend that the socket's peer stands for, if it is a backend that the socket was sent to.
#[inline(always)]
pub(crate) fn recall(socket: &Socket, peer: FrontendKey) -> Option<RevNatValue> {
    let (address, port) = peer.parts();
    if peer.protocol() == UDP {
        // SAFETY: the context belongs to the running program; what comes back is null or the socket's own value.
        let noted = unsafe { PEERS.get_ptr_mut(socket.context()).as_ref() }?;
        if let Some(frontend) = noted.frontend_of(address, port) {
            return Some(frontend);
        }
    }
    let key = RevNatKey::new(socket.cookie(), address, port, peer.protocol());
    // SAFETY: the value is copied at once; only an insert of this same socket could change it meanwhile.
    unsafe { REV_NAT.get(key) }.copied()
}

/// Notes a conversation on its socket; the one noted before moves to `REV_NAT`.
#[inline(always)]
fn remember_on_socket(socket: &Socket, mut fresh: PeerValue) {
    // SAFETY: the context belongs to the running program; what comes back is null or the socket's own value.
    let noted = unsafe { PEERS.get_ptr_mut(socket.context()).as_mut() };
    match noted {
        // The usual case of datagrams: nothing changed, so nothing is written.
        Some(noted) if *noted == fresh => {}
        Some(noted) => {
            insert(noted.key(socket.cookie(), UDP), noted.frontend());
            *noted = fresh;
        }
        None => {
            // SAFETY: as above.
            let created =
                unsafe { PEERS.get_or_insert_ptr_mut(socket.context(), Some(&mut fresh)) };
            if created.is_null() {
                count(DropReason::NotRemembered);
            }
        }
    }
}

#[inline(always)]
fn insert(key: RevNatKey, frontend: RevNatValue) {
    if REV_NAT.insert(key, frontend, BPF_ANY.into()).is_err() {
        count(DropReason::NotRemembered);
    }
}
