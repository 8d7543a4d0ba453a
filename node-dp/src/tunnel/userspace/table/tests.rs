//! Peers that do not answer, and what that costs.

use std::{net::Ipv4Addr, ops::RangeInclusive, thread::sleep};

use node_dp_core::tunnel::pacing::{RETRY, SPACING};
use proptest::prelude::*;

use super::{
    super::{
        super::peers::{Change, PeerConfig},
        outbox::Group,
    },
    *,
};
use crate::tunnel::PrivateKey;

/// How long the silence lasts: the first two calls of each peer take a second and a third.
const SILENCE: Duration = Duration::from_secs(5);

/// For a machine that others use.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_thousand_silent_peers_are_not_flooded() {
    let (mut table, mut outbox) = (table(1), Outbox::default());
    for number in 0..1000 {
        add(&mut table, number);
    }

    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed() < SILENCE || calls < 2000 {
        assert!(start.elapsed() < DEADLINE, "{calls} calls");
        // What pods send to them in vain makes no more of it.
        let some = PeerId(calls % 1000);
        table.seal(some, BytesMut::from(&[0x45; 32][..]), &mut outbox);
        table.tick(1000, Instant::now() + SILENCE, &mut outbox);
        calls += take(&mut outbox).len();
        sleep(Duration::from_millis(5));
    }

    // Each once, once more after a second, and then all together as often as it is paced.
    let paced = (start.elapsed() - RETRY).as_secs_f64() / SPACING.as_secs_f64();
    let most = 2000 + paced as usize + 1;
    assert!(calls <= most, "{calls} calls, {most} at most");
    assert!(table.drops().no_session > 0);
}

#[test]
fn a_silent_peer_that_answers_is_called_as_others_are_from_then_on() {
    let (mut near, mut outbox) = (table(1), Outbox::default());
    let (mut far, mut answers) = (table(2), Outbox::default());
    let [near_key, far_key] = [1, 2].map(|number| key(number).public_key());
    near.apply(near.identity.prepare(Change::Add(far_key, config(2))));
    far.apply(far.identity.prepare(Change::Add(near_key, config(1))));
    let peer = |near: &PeerTable| -> (u32, RangeInclusive<Duration>) {
        let peer = near.peers[0].as_ref().unwrap();
        (
            peer.calls,
            peer.protocol.timer_params().rekey_timeout.clone(),
        )
    };
    let usual = peer(&near).1;

    let deadline = Instant::now() + DEADLINE;
    let mut calls = Vec::new();
    while calls.len() < 3 {
        assert!(Instant::now() < deadline, "{} calls", calls.len());
        near.tick(1, Instant::now() + SILENCE, &mut outbox);
        calls.extend(take(&mut outbox));
        sleep(Duration::from_millis(5));
    }
    let (count, paced) = peer(&near);
    assert_eq!(count, 3);
    assert!(paced != usual && *paced.start() >= RETRY);

    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    far.open(calls.pop().unwrap(), from, 1420, &mut answers);
    for answer in take(&mut answers) {
        near.open(answer, from, 1420, &mut outbox);
    }

    assert_eq!(peer(&near), (0, usual));
}

/// What happens to datagrams on their way.
#[derive(Debug, Clone)]
enum Mishap {
    /// Something that nobody sent.
    Noise(Vec<u8>),
    /// One that looks like a message of some type.
    Forged(u8, Vec<u8>),
    /// One that was sent arrives, maybe again.
    Arrives(usize),
    /// One that was sent, with another bit.
    Flipped(usize, usize),
    /// The beginning of one that was sent.
    Cut(usize, usize),
    /// One that was sent, and more behind it.
    Longer(usize, Vec<u8>),
}

fn any_mishap() -> impl Strategy<Value = Mishap> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    let sent = 0..SENT;
    prop_oneof![
        bytes().prop_map(Mishap::Noise),
        (1..6_u8, bytes()).prop_map(|(kind, bytes)| Mishap::Forged(kind, bytes)),
        sent.clone().prop_map(Mishap::Arrives),
        (sent.clone(), any::<usize>()).prop_map(|(at, bit)| Mishap::Flipped(at, bit)),
        (sent.clone(), any::<usize>()).prop_map(|(at, len)| Mishap::Cut(at, len)),
        (sent, bytes()).prop_map(|(at, bytes)| Mishap::Longer(at, bytes)),
    ]
}

/// Datagrams that are sent in each case.
const SENT: usize = 8;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_arrives_only_what_was_sent_is_delivered_and_only_once(
        mishaps in prop::collection::vec(any_mishap(), 1..40),
    ) {
        let (mut near, mut far) = acquainted();
        let packets: Vec<BytesMut> = (0..SENT).map(packet).collect();
        let mut outbox = Outbox::default();
        for packet in &packets {
            far.seal(PeerId(0), packet.clone(), &mut outbox);
        }
        let sent = take(&mut outbox);
        prop_assert_eq!(sent.len(), SENT);

        let mut delivered = vec![0; SENT];
        for mishap in mishaps {
            let arrived = near.open(datagram(mishap, &sent), FROM, 1420, &mut outbox);
            let Some(packet) = arrived else { continue };
            let which = packets.iter().position(|sent| *sent == packet);
            prop_assert!(which.is_some(), "{packet:?}");
            delivered[which.unwrap_or_default()] += 1;
        }
        prop_assert!(delivered.iter().all(|times| *times <= 1), "{delivered:?}");
    }
}

/// Where datagrams come from.
const FROM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Two tables that know each other and have a session, which the second may send in.
fn acquainted() -> (PeerTable, PeerTable) {
    let (mut near, mut far) = (table(1), table(2));
    for (table, other) in [(&mut near, 2), (&mut far, 1)] {
        let change = Change::Add(key(other).public_key(), config(other.into()));
        table.apply(table.identity.prepare(change));
    }
    let mut outbox = Outbox::default();
    far.tick(1, Instant::now() + SILENCE, &mut outbox);
    for to_near in [true, false, true] {
        let table = if to_near { &mut near } else { &mut far };
        for message in take(&mut outbox) {
            table.open(message, FROM, 1420, &mut outbox);
        }
    }
    (near, far)
}

/// An IPv4 packet from the second table's addresses, with a number in it.
fn packet(number: usize) -> BytesMut {
    let source = Ipv4Addr::new(10, 2, 0, 1);
    let header = etherparse::PacketBuilder::ipv4(source.octets(), [10, 1, 0, 1], 64).udp(7, 7);
    let payload = vec![u8::try_from(number).unwrap(); 20 + number];
    let mut bytes = Vec::new();
    header.write(&mut bytes, &payload).unwrap();
    BytesMut::from(&bytes[..])
}

fn datagram(mishap: Mishap, sent: &[BytesMut]) -> BytesMut {
    match mishap {
        Mishap::Noise(bytes) => BytesMut::from(&bytes[..]),
        Mishap::Forged(kind, bytes) => {
            let head = [kind, 0, 0, 0];
            BytesMut::from(&[&head[..], &bytes].concat()[..])
        }
        Mishap::Arrives(at) => sent[at].clone(),
        Mishap::Flipped(at, bit) => {
            let mut bytes = sent[at].clone();
            let bit = bit % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        }
        Mishap::Cut(at, len) => {
            let mut bytes = sent[at].clone();
            bytes.truncate(len % bytes.len());
            bytes
        }
        Mishap::Longer(at, bytes) => BytesMut::from(&[&sent[at][..], &bytes].concat()[..]),
    }
}

fn table(number: u8) -> PeerTable {
    PeerTable::new(Identity::new(&key(number)))
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([number; 32])
}

/// Adds a peer that is nobody's.
fn add(table: &mut PeerTable, number: u16) {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    let change = Change::Add(PublicKey(key), config(number));
    table.apply(table.identity.prepare(change));
}

fn config(number: u16) -> PeerConfig {
    PeerConfig {
        endpoint: SocketAddr::from(([192, 0, 2, 1], 1000 + number)),
        allowed_ips: std::iter::once(format!("10.{}.0.0/16", number % 256).parse().unwrap())
            .collect(),
        is_used: true,
    }
}

/// Takes the datagrams that wait.
fn take(outbox: &mut Outbox) -> Vec<BytesMut> {
    let mut taken = Vec::new();
    while let Some(Group::Segments(range) | Group::Singles(range)) = outbox.next_group() {
        let datagrams = outbox.get(range.clone()).iter();
        taken.extend(datagrams.map(|(datagram, _)| BytesMut::from(&datagram[..])));
        outbox.pass(range.len());
    }
    taken
}
