//! Messages to peers on their way out of the table.

use std::{collections::HashMap, net::SocketAddr};

use gotatun::packet::WgKind;
use node_dp_core::tunnel::pacing::Pacing;

use super::{
    super::{outbox::Outbox, peer::Peer},
    PeerId,
};

/// Notes that a peer is called, if the message is that.
pub(super) fn note_call(message: &WgKind, peer: &mut Peer, pacing: &mut Pacing) {
    match message {
        WgKind::HandshakeInit(_) => peer.note_call(pacing),
        WgKind::HandshakeResp(_) | WgKind::CookieReply(_) | WgKind::Data(_) => {}
    }
}

/// Puts a message on its way, and notes the number that answers to a handshake will carry.
pub(super) fn send(
    message: WgKind,
    id: PeerId,
    to: SocketAddr,
    by_index: &mut HashMap<u32, PeerId>,
    outbox: &mut Outbox,
) {
    match &message {
        WgKind::HandshakeInit(message) => {
            by_index.insert(message.sender_idx.get(), id);
        }
        WgKind::HandshakeResp(message) => {
            by_index.insert(message.sender_idx.get(), id);
        }
        WgKind::CookieReply(_) | WgKind::Data(_) => {}
    }
    outbox.push(message.into(), to);
}
