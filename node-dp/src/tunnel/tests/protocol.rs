//! What the embedded WireGuard must keep of the protocol, whatever a peer or a stranger sends.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use super::{
    net::{ATTEMPT, Pair, eventually},
    plain::{PlainPeer, udp},
};

#[test]
#[ignore = "needs root"]
fn a_peer_that_sends_from_anothers_address_delivers_nothing() {
    let mut pair = Pair::up("spoof");
    let mut peer = PlainPeer::instead_of_second(&mut pair);
    for (own, other) in [("10.2.0.1", "10.3.0.1"), ("fd02::1", "fd03::1")] {
        let (own, other) = (address(own, 7000), address(other, 7000));
        let server = server(&pair, own);
        let to = server.local_addr().unwrap();

        for _ in 0..100 {
            peer.send_inner(&udp(other, to, b"spoofed"));
            // From the receiver's own address, which is no peer's.
            peer.send_inner(&udp(to, to, b"reflected"));
        }
        peer.send_inner(&udp(own, to, b"true"));

        assert_eq!(received(&server), Some((b"true".to_vec(), own)));
        assert_eq!(received(&server), None);
    }
}

#[test]
#[ignore = "needs root"]
fn a_repeated_datagram_is_delivered_once() {
    let mut pair = Pair::up("replay");
    let mut peer = PlainPeer::instead_of_second(&mut pair);
    let from = address("10.2.0.1", 7000);
    let server = server(&pair, from);
    let to = server.local_addr().unwrap();

    let first = peer.seal(&udp(from, to, b"first"));
    for _ in 0..10 {
        peer.send(&first);
    }
    let late = peer.seal(&udp(from, to, b"late"));
    peer.send_inner(&udp(from, to, b"second"));
    for _ in 0..10 {
        peer.send(&late);
        peer.send(&first);
    }
    peer.send_inner(&udp(from, to, b"last"));

    let texts: Vec<Vec<u8>> = std::iter::from_fn(|| Some(received(&server)?.0)).collect();
    assert_eq!(texts, [&b"first"[..], b"second", b"late", b"last"]);
}

#[test]
#[ignore = "needs root"]
fn malformed_datagrams_deliver_nothing_and_end_nothing() {
    let mut pair = Pair::up("fuzz");
    let mut peer = PlainPeer::instead_of_second(&mut pair);
    let from = address("10.2.0.1", 7000);
    let server = server(&pair, from);
    let to = server.local_addr().unwrap();

    for len in 0..300_usize {
        for kind in 0..6_u8 {
            let mut bytes: Vec<u8> = (0..len).map(|at| (at * 31 + len) as u8).collect();
            if let Some([first, zeros @ ..]) = bytes.first_chunk_mut::<4>() {
                *first = kind;
                *zeros = [0; 3];
            }
            peer.send(&bytes);
        }
        let good = peer.seal(&udp(from, to, b"good"));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (len % 8);
            // Only the three reserved bytes are not looked at, which makes it a repetition of itself.
            if len % 60 == 0 && !(1..4).contains(&at) {
                peer.send(&bad);
            }
        }
        // What is no IP packet once it is decrypted, or not a whole one.
        peer.send_inner(&vec![len as u8; len]);
        let mut short = udp(from, to, b"short");
        short.truncate(len % 33);
        peer.send_inner(&short);
    }
    peer.send_inner(&udp(from, to, b"alive"));

    assert_eq!(received(&server), Some((b"alive".to_vec(), from)));
    assert_eq!(received(&server), None);
}

#[test]
#[ignore = "needs root"]
fn a_peer_that_moves_is_followed_with_its_first_authentic_datagram() {
    let mut pair = Pair::up("roam");
    let mut peer = PlainPeer::instead_of_second(&mut pair);
    let from = address("10.2.0.1", 7000);
    let server = server(&pair, from);
    let to = server.local_addr().unwrap();
    let key = pair.b.public_key();

    peer.roam(&pair.b, 4000);
    peer.send(&[4; 64]);
    peer.send_inner(&udp(from, to, b"moved"));
    assert_eq!(received(&server), Some((b"moved".to_vec(), from)));

    let moved = SocketAddr::new(pair.b.underlay, 4000);
    assert_eq!(pair.a.stats()[&key].endpoint, Some(moved));
    server.send_to(b"followed", from).unwrap();
    let inner = peer.receive_of(17, from.ip());
    assert_eq!(&inner[28..], b"followed");
}

#[test]
#[ignore = "needs root"]
fn a_node_that_comes_back_with_a_new_key_is_reached_at_once() {
    let mut pair = Pair::up("newkey");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);

    pair.b.close_tunnel();
    pair.b.change_key();
    pair.b.open_tunnel();
    pair.connect();

    let waited = eventually(Duration::from_secs(3), || {
        pair.a.ask_udp(&pair.b, pair.b.pods[0])
    });
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    let peers: Vec<_> = pair.a.stats().into_keys().collect();
    assert_eq!(peers, [pair.b.public_key()]);
}

/// A socket behind the tunnel, in the family of an address.
fn server(pair: &Pair, like: SocketAddr) -> UdpSocket {
    let pod = pair.a.pods[usize::from(like.is_ipv6())];
    let socket = pair.a.inside(move || UdpSocket::bind((pod, 0)).unwrap());
    socket.set_read_timeout(Some(ATTEMPT)).unwrap();
    socket
}

fn received(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer).ok()?;
    Some((buffer[..len].to_vec(), from))
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}
