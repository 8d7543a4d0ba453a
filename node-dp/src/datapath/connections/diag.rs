//! The messages of sock_diag: which sockets are connected to whom, and that one shall be destroyed.

use node_dp_common::{Address, Port};

/// The kinds of messages.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;

/// The length of a message's header.
const HEADER: usize = 16;
/// Where the identity of a socket stands in an answer, and how long it is.
const ID: usize = 4;
const ID_LENGTH: usize = 48;
/// Where the inode's number stands in an answer.
const INODE: usize = 68;

/// States of TCP in which a client waits for its peer; of UDP, that a socket is connected.
const ESTABLISHED: u32 = 1 << 1;
const SYN_SENT: u32 = 1 << 2;
const FIN_WAIT_1: u32 = 1 << 4;
const CLOSE_WAIT: u32 = 1 << 8;
const CONNECTED: u32 = ESTABLISHED | SYN_SENT | FIN_WAIT_1 | CLOSE_WAIT;

/// A connected socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connected {
    family: u8,
    /// Its addresses, ports and cookie, as the kernel wrote them.
    id: [u8; ID_LENGTH],
    /// The number of its inode, by which a process has it open.
    pub(super) inode: u32,
}

impl Connected {
    /// The address and port that it is connected to.
    pub(super) fn destination(&self) -> (Address, Port) {
        let port = u16::from_ne_bytes([self.id[2], self.id[3]]);
        let word = |index: usize| native_u32(&self.id, 20 + index * 4).unwrap_or_default();
        let address = if i32::from(self.family) == libc::AF_INET {
            Address::from_v4_word(word(0))
        } else {
            Address::from_v6_words([0, 1, 2, 3].map(word))
        };
        (address, Port::from_network(port))
    }

    /// The number that no other socket of this boot has.
    pub(super) fn cookie(&self) -> u64 {
        let word = |at: usize| u64::from(native_u32(&self.id, at).unwrap_or_default());
        word(40) | word(44) << 32
    }
}

/// What the kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Socket(Connected),
    /// There are no more sockets.
    Done,
    /// The request is done, or failed with an error's number.
    Answer(i32),
}

/// Asks for all connected sockets of a family and protocol.
pub(super) fn list(family: u8, protocol: u8) -> Vec<u8> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    request(
        SOCK_DIAG_BY_FAMILY,
        flags,
        (family, protocol),
        &[0; ID_LENGTH],
    )
}

/// Asks to destroy a socket.
pub(super) fn destroy(socket: &Connected, protocol: u8) -> Vec<u8> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
    request(SOCK_DESTROY, flags, (socket.family, protocol), &socket.id)
}

/// Asks to destroy a TCP socket that cannot be there, to see what the kernel says.
pub(super) fn destroy_nothing() -> Vec<u8> {
    let nothing = Connected {
        family: libc::AF_INET as u8,
        id: [0; ID_LENGTH],
        inode: 0,
    };
    destroy(&nothing, libc::IPPROTO_TCP as u8)
}

/// What the messages in a buffer say; one that is cut short ends them.
pub(super) fn read(mut buffer: &[u8]) -> Vec<Said> {
    let mut all = Vec::new();
    while let Some(length) = native_u32(buffer, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = buffer.get(HEADER..length) else {
            break;
        };
        all.extend(read_one(native_u16(buffer, 4), message));
        // Messages begin at multiples of four.
        buffer = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

fn read_one(kind: Option<u16>, body: &[u8]) -> Option<Said> {
    match kind? {
        NLMSG_DONE => Some(Said::Done),
        NLMSG_ERROR => {
            let number = native_u32(body, 0)?.cast_signed();
            Some(Said::Answer(number.saturating_neg()))
        }
        SOCK_DIAG_BY_FAMILY => Some(Said::Socket(Connected {
            family: *body.first()?,
            id: body.get(ID..ID + ID_LENGTH)?.try_into().ok()?,
            inode: native_u32(body, INODE)?,
        })),
        _ => None,
    }
}

fn request(kind: u16, flags: i32, of: (u8, u8), id: &[u8; ID_LENGTH]) -> Vec<u8> {
    let (family, protocol) = of;
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags as u16).to_ne_bytes());
    // The number of the request, and who asks: the kernel knows.
    bytes.extend([0; 8]);
    bytes.extend([family, protocol, 0, 0]);
    bytes.extend(CONNECTED.to_ne_bytes());
    bytes.extend(id);
    sized(bytes)
}

/// Writes a message's length into its header.
fn sized(mut message: Vec<u8>) -> Vec<u8> {
    let length = (message.len() as u32).to_ne_bytes();
    message[..4].copy_from_slice(&length);
    message
}

fn native_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn native_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests;
