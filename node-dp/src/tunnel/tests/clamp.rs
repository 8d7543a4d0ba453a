//! What the ends of a TCP connection through the tunnel hear of the largest segment.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use nix::sys::socket::{getsockopt, sockopt};

use super::{
    mtu::wait_for_mtu,
    net::{Pair, Pod},
    plain::{PlainPeer, is_whole, packet},
};

const TCP: u8 = 6;

/// The port of the end that has no kernel.
const PORT: u16 = 7000;

/// The number of its first byte.
const SEQUENCE: u32 = 1;

/// What the tunnel takes over a path of 1500 bytes.
const MTU: u16 = 1440;

#[test]
#[ignore = "needs root"]
fn both_ends_of_a_connection_hear_of_segments_that_fit_the_tunnel() {
    let mut pair = Pair::up("clamp");
    let mut peer = PlainPeer::instead_of_second(&mut pair);
    wait_for_mtu(&pair.a, MTU.into());
    let pod = Pod::behind(&pair.a);
    for (to, from) in pod.addresses.into_iter().zip(pair.b.pods) {
        let fitting = MTU - if to.is_ipv4() { 40 } else { 60 };
        // The option at an even place and at an odd one, alone and behind another.
        for before in [&[][..], &[1], &[1, 1], &[3, 3, 7, 1, 1]] {
            for (offered, heard) in [(8960, fitting), (fitting, fitting), (536, 536)] {
                let (answer, accepted) = connect(&mut peer, &pod, (from, to), (before, offered));

                // The pod's own device takes 1500 bytes.
                assert_eq!(largest_segment(&answer), fitting, "{to} {before:?}");
                let taken = getsockopt(&accepted, sockopt::TcpMaxSeg).unwrap();
                assert_eq!(taken, u32::from(heard), "{to} {before:?} {offered}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_clamp_follows_the_tunnels_mtu() {
    let mut pair = Pair::up("clampmtu");
    let mut peer = PlainPeer::instead_of_second(&mut pair);
    wait_for_mtu(&pair.a, MTU.into());
    let pod = Pod::behind(&pair.a);
    for (underlay, inside) in [(1400, 1340), (9000, 8940), (1500, 1440)] {
        pair.a
            .ip(&["link", "set", "under0", "mtu", &underlay.to_string()]);
        wait_for_mtu(&pair.a, inside.into());

        let (answer, _) = connect(
            &mut peer,
            &pod,
            (pair.b.pods[0], pod.addresses[0]),
            (&[], 9000),
        );

        assert_eq!(largest_segment(&answer), (inside - 40).min(1460));
    }
}

/// Connects to a listener in the pod with a SYN that offers a largest segment behind other options; gives the answer to it and
/// the pod's end of the connection.
fn connect(
    peer: &mut PlainPeer,
    pod: &Pod,
    (from, to): (IpAddr, IpAddr),
    (before, offered): (&[u8], u16),
) -> (Vec<u8>, TcpStream) {
    let listener = pod.inside(move || TcpListener::bind((to, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let mut options = before.to_vec();
    options.extend([2, 4]);
    options.extend(offered.to_be_bytes());
    options.resize(options.len().next_multiple_of(4), 0);
    let syn = segment(port, (SEQUENCE, 0), 0x02, &options);
    peer.send_inner(&packet((from, to), TCP, syn, 16));

    let answer = loop {
        let answer = peer.receive_of(TCP, from);
        // One of a former connection may come again.
        if source_port(&answer) == port {
            break answer;
        }
    };
    assert!(is_whole(&answer), "{to} {before:?}");
    let at = transport_of(&answer);
    let sequence = u32::from_be_bytes(answer[at + 4..at + 8].try_into().unwrap());
    let ack = segment(port, (SEQUENCE + 1, sequence.wrapping_add(1)), 0x10, &[]);
    peer.send_inner(&packet((from, to), TCP, ack, 16));
    let (accepted, client) = listener.accept().unwrap();
    assert_eq!(client, SocketAddr::new(from, PORT));
    (answer, accepted)
}

fn segment(port: u16, (sequence, acknowledged): (u32, u32), flags: u8, options: &[u8]) -> Vec<u8> {
    let mut segment = [PORT.to_be_bytes(), port.to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    let words = 5 + options.len() as u8 / 4;
    segment.extend([words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(options);
    segment
}

/// The largest segment that a SYN says, which Linux says before all else.
fn largest_segment(packet: &[u8]) -> u16 {
    let at = transport_of(packet) + 20;
    assert_eq!(packet[at..at + 2], [2, 4]);
    u16::from_be_bytes([packet[at + 2], packet[at + 3]])
}

fn source_port(packet: &[u8]) -> u16 {
    let at = transport_of(packet);
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

fn transport_of(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { 20 } else { 40 }
}
