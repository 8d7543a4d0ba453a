//! Tests of the outer socket: batches, segments and what a peer's address becomes.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_datagram_that_cannot_be_sent_takes_none_of_its_batch_with_it() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let good = receiver.local_addr().unwrap();
    // The kernel refuses broadcasts of sockets that did not ask for them.
    let bad = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
    let socket = Socket::bind(0).unwrap();
    let mut outbox = Outbox::default();
    for (to, number) in [bad, bad, good, bad, bad, good, bad].into_iter().zip(0..) {
        outbox.push(Packet::copy_from(&[number][..]), to);
    }

    assert!(socket.send(&mut outbox));

    assert!(outbox.is_empty());
    assert_eq!(received(&receiver), [2]);
    assert_eq!(received(&receiver), [5]);
}

#[test]
fn datagrams_of_one_size_arrive_one_by_one_whatever_the_offload() {
    for address in ["127.0.0.1", "::1"] {
        let receiver = UdpSocket::bind((address, 0)).unwrap();
        let to = receiver.local_addr().unwrap();
        let socket = Socket::bind(0).unwrap();
        let mut outbox = Outbox::default();
        for number in 0..5_u8 {
            let len = if number == 4 { 7 } else { 1000 };
            outbox.push(Packet::copy_from(&vec![number; len][..]), to);
        }

        assert!(socket.send(&mut outbox));

        for number in 0..5_u8 {
            let len = if number == 4 { 7 } else { 1000 };
            assert_eq!(received(&receiver), vec![number; len]);
        }
    }
}

#[test]
fn packets_of_both_families_arrive_with_their_own_addresses() {
    let socket = Socket::bind(0).unwrap();
    let port = socket.0.local_addr().unwrap().port();
    let mut buffers = Buffers::new();
    for address in ["127.0.0.1", "::1"] {
        let address: IpAddr = address.parse().unwrap();
        let sender = UdpSocket::bind((address, 0)).unwrap();
        sender.send_to(b"hello", (address, port)).unwrap();

        let messages = taken(&socket, &mut buffers, 5);

        assert_eq!(&messages[0].bytes[..], b"hello");
        assert_eq!(messages[0].from, sender.local_addr().unwrap());
        assert_eq!(messages[0].size, 5);
    }
}

#[test]
fn a_sent_group_is_received_with_the_size_of_its_datagrams() {
    let (sender, receiver) = (Socket::bind(0).unwrap(), Socket::bind(0).unwrap());
    let to = (Ipv4Addr::LOCALHOST, receiver.0.local_addr().unwrap().port());
    let mut outbox = Outbox::default();
    for number in 0..10_u8 {
        outbox.push(Packet::copy_from(&[number; 1200][..]), to.into());
    }

    assert!(sender.send(&mut outbox));

    let messages = taken(&receiver, &mut Buffers::new(), 12_000);
    let datagrams: Vec<&[u8]> = messages
        .iter()
        .flat_map(|message| message.bytes.chunks(message.size))
        .collect();
    let sent: Vec<[u8; 1200]> = (0..10).map(|number| [number; 1200]).collect();
    assert_eq!(
        datagrams,
        sent.iter().map(|sent| &sent[..]).collect::<Vec<_>>()
    );
}

/// Receives until so many bytes are there.
fn taken(socket: &Socket, buffers: &mut Buffers, bytes: usize) -> Vec<Message> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut messages: Vec<Message> = Vec::new();
    while messages
        .iter()
        .map(|message| message.bytes.len())
        .sum::<usize>()
        < bytes
    {
        assert!(Instant::now() < deadline);
        socket.receive(buffers, &mut messages).unwrap();
    }
    messages
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}
