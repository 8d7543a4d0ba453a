//! Asks the kernel what a device can do for XDP, by generic netlink (`linux/netdev.h`, 6.3).

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
        sockopt::ReceiveTimeout,
    },
    time::TimeVal,
};

/// The device takes frames that drivers of other devices hand it.
pub(super) const TAKES_FRAMES: u64 = 1 << 2;

/// The family of messages about families.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

const GET_DEVICE: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;

/// The lengths of the headers of a message: netlink's, and with generic netlink's.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;

/// The kernel answers at once; who waits longer would wait for ever.
const PATIENCE: TimeVal = TimeVal::new(5, 0);

/// More than either answer has.
const BUFFER: usize = 8 * 1024;

/// What the device of an index can do for XDP at this moment; `None` where the kernel cannot be asked.
pub(super) fn xdp_features(index: u32) -> io::Result<Option<u64>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkGeneric,
    )?;
    setsockopt(&socket, ReceiveTimeout, &PATIENCE)?;
    let question = message(CONTROL, GET_FAMILY, FAMILY_NAME, b"netdev\0");
    let Some(family) = ask(&socket, &question, FAMILY_ID)? else {
        return Ok(None);
    };
    let Some(family) = family.first_chunk().copied().map(u16::from_ne_bytes) else {
        return Ok(None);
    };
    let question = message(family, GET_DEVICE, DEVICE_INDEX, &index.to_ne_bytes());
    let features = ask(&socket, &question, DEVICE_XDP_FEATURES)?;
    Ok(features
        .and_then(|bytes| bytes.first_chunk().copied())
        .map(u64::from_ne_bytes))
}

/// The attribute of a kind in the answer to a question; `None` if what is asked for is not there.
fn ask(socket: &OwnedFd, question: &[u8], kind: u16) -> io::Result<Option<Vec<u8>>> {
    send(socket.as_raw_fd(), question, MsgFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    match read(&buffer[..length], kind) {
        Ok(value) => Ok(value.map(<[u8]>::to_vec)),
        Err(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => Ok(None),
        Err(number) => Err(io::Error::from_raw_os_error(number)),
    }
}

fn message(family: u16, command: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(family.to_ne_bytes());
    bytes.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // The number of the request, and who asks: the kernel knows.
    bytes.extend([0; 8]);
    bytes.extend([command, 1, 0, 0]);
    bytes.extend((value.len() as u16 + 4).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let length = (bytes.len() as u32).to_ne_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

/// The attribute of a kind in the first message of a buffer, or the number of the error that it is.
fn read(buffer: &[u8], kind: u16) -> Result<Option<&[u8]>, i32> {
    let native_u16 = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 2)?;
        bytes.try_into().ok().map(u16::from_ne_bytes)
    };
    let word = |at: usize| {
        let bytes = buffer.get(at..at + 4)?;
        bytes.try_into().ok().map(u32::from_ne_bytes)
    };
    if native_u16(buffer, 4) == Some(libc::NLMSG_ERROR as u16) {
        let number = word(HEADER).unwrap_or_default().cast_signed();
        return Err(number.saturating_neg());
    }
    let length = word(0).and_then(|length| usize::try_from(length).ok());
    let end = length.unwrap_or_default().min(buffer.len());
    let mut rest = buffer.get(HEADERS..end).unwrap_or_default();
    while let (Some(length), Some(found)) = (native_u16(rest, 0), native_u16(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else {
            break;
        };
        if found == kind {
            return Ok(Some(value));
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let written = message(30, GET_DEVICE, DEVICE_INDEX, &[1, 2, 3]);

        assert_eq!(written.len(), HEADERS + 8);
        assert_eq!(read(&written, DEVICE_INDEX), Ok(Some(&[1, 2, 3][..])));
        assert_eq!(read(&written, DEVICE_XDP_FEATURES), Ok(None));
    }

    #[test]
    fn an_error_is_its_number() {
        let mut written = message(libc::NLMSG_ERROR as u16, 0, 0, &[]);
        written.splice(HEADER..HEADERS, (-libc::ENOENT).to_ne_bytes());

        assert_eq!(read(&written, FAMILY_ID), Err(libc::ENOENT));
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..64), kind: u16) {
            if let Ok(Some(value)) = read(&bytes, kind) {
                prop_assert!(value.len() < bytes.len());
            }
        }
    }
}
