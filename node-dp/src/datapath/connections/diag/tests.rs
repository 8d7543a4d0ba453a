//! Messages as the kernel writes them, byte by byte, and what is not whole.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

#[test]
fn a_socket_is_read_with_its_destination_and_cookie() {
    let said = read(&answer(libc::AF_INET as u8, &[10, 1, 0, 1]));

    let [Said::Socket(socket), Said::Done] = &said[..] else {
        panic!("{said:?}");
    };
    let address: Address = Ipv4Addr::new(10, 1, 0, 1).into();
    assert_eq!(socket.destination(), (address, Port::from(8080)));
    assert_eq!(socket.cookie(), 0x0000_0002_0000_0001);
    assert_eq!(socket.inode, 4242);
}

#[test]
fn a_mapped_destination_is_the_ipv4_one() {
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 1];

    let said = read(&answer(libc::AF_INET6 as u8, &mapped));

    let Some(Said::Socket(socket)) = said.first() else {
        panic!("{said:?}");
    };
    let address: Address = Ipv4Addr::new(10, 1, 0, 1).into();
    assert_eq!(socket.destination().0, address);
}

#[test]
fn an_error_is_told_by_its_number() {
    let mut message = message(NLMSG_ERROR, &(-libc::ENOENT).to_ne_bytes());
    message.extend([0; 20]);

    assert_eq!(read(&message), [Said::Answer(libc::ENOENT)]);
}

#[test]
fn what_is_asked_to_be_destroyed_is_what_was_read() {
    let said = read(&answer(libc::AF_INET as u8, &[10, 1, 0, 1]));
    let Some(Said::Socket(socket)) = said.first() else {
        panic!("{said:?}");
    };

    let request = destroy(socket, 6);

    assert_eq!(request.len(), HEADER + 8 + ID_LENGTH);
    assert_eq!(native_u16(&request, 4), Some(SOCK_DESTROY));
    assert_eq!(request[HEADER..HEADER + 2], [libc::AF_INET as u8, 6]);
    assert_eq!(request[HEADER + 8..], socket.id);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes);
    }
}

/// A socket connected to port 8080 of an address, and the end.
fn answer(family: u8, address: &[u8]) -> Vec<u8> {
    let mut body = vec![0; INODE + 4];
    body[INODE..].copy_from_slice(&4242u32.to_ne_bytes());
    body[0] = family;
    body[ID + 2..ID + 4].copy_from_slice(&8080u16.to_be_bytes());
    body[ID + 20..ID + 20 + address.len()].copy_from_slice(address);
    body[ID + 40..ID + 44].copy_from_slice(&1u32.to_ne_bytes());
    body[ID + 44..ID + 48].copy_from_slice(&2u32.to_ne_bytes());
    let mut messages = message(SOCK_DIAG_BY_FAMILY, &body);
    messages.extend(message(NLMSG_DONE, &[0; 4]));
    messages
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    sized(bytes)
}
