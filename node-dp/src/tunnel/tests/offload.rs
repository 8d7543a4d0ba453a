//! What offload must not change: each packet on the wire, and each byte that arrives.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use node_dp_core::tunnel::offload::InnerPacket;

use super::{
    net::{ATTEMPT, Pair},
    plain::{PlainPeer, is_whole, packet},
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The largest segment that fits an MTU of 1440, without options, by family.
const MSS: [usize; 2] = [1400, 1380];

#[test]
#[ignore = "needs root"]
fn a_super_packet_of_udp_leaves_as_the_datagrams_that_were_sent() {
    let mut pair = Pair::up("uso");
    let mut peer = PlainPeer::instead_of_second(&mut pair);
    for (from, to) in pair.a.pods.into_iter().zip(pair.b.pods) {
        for size in [1, 999, 1412 - 20 * usize::from(from.is_ipv6())] {
            let payload: Vec<u8> = (0..20 * size + size / 2 + 1).map(|at| at as u8).collect();
            let sent = payload.clone();
            pair.a.inside(move || {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                setsockopt(&socket, sockopt::UdpGsoSegment, &(size as i32)).unwrap();
                socket.send_to(&sent, (to, 7000)).unwrap();
            });

            let headers = if from.is_ipv4() { 28 } else { 48 };
            for expected in payload.chunks(size) {
                let datagram = peer.receive_of(UDP, to);
                assert!(is_whole(&datagram), "{from} {size}");
                assert_eq!(&datagram[headers..], expected, "{from} {size}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_super_packet_of_tcp_leaves_as_whole_segments_and_ends_with_push() {
    let mut pair = Pair::up("tso");
    let mut peer = PlainPeer::instead_of_second(&mut pair);
    for (from, to) in pair.a.pods.into_iter().zip(pair.b.pods) {
        let mss = MSS[usize::from(from.is_ipv6())];
        let payload: Vec<u8> = (0..8 * mss + 77).map(|at| (at / 3) as u8).collect();
        let sent = payload.clone();
        let target = SocketAddr::new(to, 7000);
        let client = pair.a.spawn(move || {
            let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(10)).unwrap();
            stream.write_all(&sent).unwrap();
            stream
        });
        accept(&mut peer, to, mss as u16);

        let at = if from.is_ipv4() { 20 } else { 40 };
        let mut received: Vec<u8> = Vec::new();
        while received.len() < payload.len() {
            let segment = peer.receive_of(TCP, to);
            let data = &segment[at + 20..];
            let is_syn = segment[at + 13] & 0x02 != 0;
            if is_syn || data.is_empty() {
                continue;
            }
            assert!(is_whole(&segment), "{from}");
            received.extend(data);
            let is_last = received.len() == payload.len();
            assert!(is_last || data.len() == mss, "{} of {mss}", data.len());
            let has_push = segment[at + 13] & 0x08 != 0;
            assert!(!is_last || has_push, "{from}");
        }
        assert_eq!(received, payload);
        drop(client.join().unwrap());
    }
}

#[test]
#[ignore = "needs root"]
fn datagrams_arrive_one_by_one_as_they_were_sent() {
    let pair = Pair::up("split");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);
    pair.a.ping(pair.b.pods[1]);
    for (from, to) in pair.a.pods.into_iter().zip(pair.b.pods) {
        let server = pair.b.inside(move || UdpSocket::bind((to, 0)).unwrap());
        server.set_read_timeout(Some(ATTEMPT)).unwrap();
        let client = pair.a.inside(move || UdpSocket::bind((from, 0)).unwrap());
        let target = server.local_addr().unwrap();
        // Larger than the MTU too, which makes fragments; and none at all.
        let sizes = [1, 500, 500, 500, 499, 0, 3000, 1372, 1372, 2, 8000];
        for (number, size) in (0..).zip(sizes) {
            client.send_to(&vec![number; size], target).unwrap();
        }

        let mut buffer = [0; 9000];
        for (number, size) in (0..).zip(sizes) {
            let len = server.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..len], vec![number; size], "{from}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn streams_of_odd_writes_arrive_byte_by_byte_in_both_directions_at_once() {
    let pair = Pair::up("bytes");
    pair.connect();
    let mut streams = Vec::new();
    for (client, server) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        for to in server.pods {
            let listener = server.inside(move || TcpListener::bind((to, 0)).unwrap());
            let target = listener.local_addr().unwrap();
            let receiver = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                all
            });
            let sender = client.spawn(move || send_odd_writes(target));
            streams.push((sender, receiver));
        }
    }
    for (sender, receiver) in streams {
        let sent = sender.join().unwrap();
        assert!(sent == receiver.join().unwrap(), "not what was sent");
    }
}

fn send_odd_writes(target: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(10)).unwrap();
    let mut sent = Vec::new();
    let mut state = 1_u32;
    for size in [1, 7, 1379, 1380, 1381, 65_535, 100_000, 3, 1_000_000, 13] {
        for _ in 0..3 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(size)
            .collect();
            stream.write_all(&bytes).unwrap();
            sent.extend(bytes);
        }
    }
    stream.shutdown(Shutdown::Write).unwrap();
    sent
}

/// Plays the server's part of the handshake of TCP: no options but the segment size, and a window for all that is sent.
fn accept(peer: &mut PlainPeer, to: IpAddr, mss: u16) {
    let at = if to.is_ipv4() { 20 } else { 40 };
    let syn = peer.receive_of(TCP, to);
    let from = InnerPacket::parse(&syn).unwrap().source;
    assert_eq!(syn[at + 13] & 0x3f, 0x02, "a SYN");
    let sequence = u32::from_be_bytes(syn[at + 4..at + 8].try_into().unwrap());
    let mut reply = [&syn[at + 2..at + 4], &syn[at..at + 2]].concat();
    reply.extend(1_u32.to_be_bytes());
    reply.extend(sequence.wrapping_add(1).to_be_bytes());
    reply.extend([0x60, 0x12, 0xff, 0xff, 0, 0, 0, 0, 2, 4]);
    reply.extend(mss.to_be_bytes());
    peer.send_inner(&packet((to, from), TCP, reply, 16));
}
