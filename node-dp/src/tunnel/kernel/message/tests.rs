//! The messages byte by byte, against attributes built by hand after `linux/wireguard.h`.

use std::net::SocketAddr;

use rtnetlink::packet_core::Emitable as _;

use super::*;

const NESTED: u16 = 0x8000;

#[test]
fn a_key_and_a_port_are_told_as_the_kernel_reads_them() {
    let key = PrivateKey::from_bytes([9; 32]);

    let message = set_device("isthmus0", &key, 51872);

    let expected = [
        attribute(2, b"isthmus0\0"),
        attribute(3, &key.to_bytes()),
        attribute(6, &51872_u16.to_ne_bytes()),
    ];
    assert_eq!(u8::from(message.cmd), 1);
    assert_eq!(bytes(&message), expected.concat());
}

#[test]
fn an_added_peer_brings_its_endpoint_keepalive_and_prefixes() {
    let change = Change::Add(PublicKey([1; 32]), config(&["10.2.0.0/16", "fd02::/48"]));

    let messages = set_peers("isthmus0", &[change]);

    let v4 = [
        attribute(1, &2_u16.to_ne_bytes()),
        attribute(2, &[10, 2, 0, 0]),
        attribute(3, &[16]),
    ];
    let mut net6 = [0; 16];
    net6[..2].copy_from_slice(&[0xfd, 0x02]);
    let v6 = [
        attribute(1, &10_u16.to_ne_bytes()),
        attribute(2, &net6),
        attribute(3, &[48]),
    ];
    let prefixes = [
        attribute(NESTED, &v4.concat()),
        attribute(NESTED, &v6.concat()),
    ];
    let peer = [
        attribute(1, &[1; 32]),
        attribute(3, &2_u32.to_ne_bytes()),
        attribute(4, &sockaddr_in()),
        attribute(5, &25_u16.to_ne_bytes()),
        attribute(9 | NESTED, &prefixes.concat()),
    ];
    assert_eq!(messages.len(), 1);
    assert_eq!(bytes(&messages[0]), device_with(&[peer.concat()]));
}

#[test]
fn a_removed_peer_is_named_with_the_flag_to_remove_it() {
    let messages = set_peers("isthmus0", &[Change::Remove(PublicKey([1; 32]))]);

    let peer = [attribute(1, &[1; 32]), attribute(3, &1_u32.to_ne_bytes())];
    assert_eq!(bytes(&messages[0]), device_with(&[peer.concat()]));
}

#[test]
fn a_moved_endpoint_leaves_the_prefixes_alone_and_makes_no_new_peer() {
    let change = Change::Update {
        public_key: PublicKey([1; 32]),
        endpoint: Some(endpoint()),
        allowed_ips: None,
        is_used: None,
    };

    let messages = set_peers("isthmus0", &[change]);

    let peer = [
        attribute(1, &[1; 32]),
        attribute(3, &4_u32.to_ne_bytes()),
        attribute(4, &sockaddr_in()),
    ];
    assert_eq!(bytes(&messages[0]), device_with(&[peer.concat()]));
}

#[test]
fn a_peer_whose_key_is_used_from_now_on_is_kept_alive() {
    let change = Change::Update {
        public_key: PublicKey([1; 32]),
        endpoint: None,
        allowed_ips: None,
        is_used: Some(true),
    };

    let messages = set_peers("isthmus0", &[change]);

    let peer = [
        attribute(1, &[1; 32]),
        attribute(3, &4_u32.to_ne_bytes()),
        attribute(5, &25_u16.to_ne_bytes()),
    ];
    assert_eq!(bytes(&messages[0]), device_with(&[peer.concat()]));
}

#[test]
fn changed_prefixes_replace_those_before() {
    let change = Change::Update {
        public_key: PublicKey([1; 32]),
        endpoint: None,
        allowed_ips: Some(BTreeSet::new()),
        is_used: None,
    };

    let messages = set_peers("isthmus0", &[change]);

    let peer = [
        attribute(1, &[1; 32]),
        attribute(3, &6_u32.to_ne_bytes()),
        attribute(9 | NESTED, &[]),
    ];
    assert_eq!(bytes(&messages[0]), device_with(&[peer.concat()]));
}

#[test]
fn however_many_peers_and_prefixes_no_message_outgrows_netlink() {
    let prefixes: BTreeSet<IpNet> = (0..2_000_u32)
        .map(|n| IpNet::new(std::net::Ipv6Addr::from(u128::from(n) << 64).into(), 64).unwrap())
        .collect();
    let changes: Vec<Change> = (0..20)
        .map(|number| {
            let mut config = config(&[]);
            config.allowed_ips.clone_from(&prefixes);
            Change::Add(PublicKey([number; 32]), config)
        })
        .collect();

    let messages = set_peers("isthmus0", &changes);

    let mut told: BTreeMap<PublicKey, BTreeSet<IpNet>> = BTreeMap::new();
    for message in messages {
        assert!(message.buffer_len() < 0xffff, "{}", message.buffer_len());
        for (key, peer) in found_peers([message]) {
            told.entry(key).or_default().extend(peer.allowed_ips);
        }
    }
    assert_eq!(told.len(), 20);
    assert!(told.values().all(|told| *told == prefixes));
}

#[test]
fn only_the_first_part_of_a_large_peer_replaces_its_prefixes() {
    let prefixes = (0..200_u32).map(|n| IpNet::new(std::net::Ipv4Addr::from(n << 8).into(), 24));
    let mut config = config(&[]);
    config.allowed_ips = prefixes.map(Result::unwrap).collect();

    let parts = peer_parts(&Change::Add(PublicKey([1; 32]), config));

    let flags = |part: &WireguardPeer| {
        part.0.iter().find_map(|attribute| {
            if let WireguardPeerAttribute::Flags(flags) = attribute {
                Some(*flags)
            } else {
                None
            }
        })
    };
    assert_eq!(
        parts.iter().map(flags).collect::<Vec<_>>(),
        [
            Some(WireguardPeerFlags::ReplaceAllowedIps),
            Some(WireguardPeerFlags::UpdateOnly)
        ]
    );
}

#[test]
fn a_peer_that_goes_on_in_the_next_message_is_one_peer() {
    let part = |attributes: Vec<WireguardPeerAttribute>| {
        let mut all = vec![WireguardPeerAttribute::PublicKey([1; 32])];
        all.extend(attributes);
        WireguardMessage {
            cmd: WireguardCmd::GetDevice,
            attributes: vec![WireguardAttribute::Peers(vec![WireguardPeer(all)])],
        }
    };
    let time = WireguardTimeSpec {
        seconds: 1_000,
        nano_seconds: 5,
    };

    let found = found_peers([
        part(vec![
            WireguardPeerAttribute::Endpoint(endpoint()),
            WireguardPeerAttribute::LastHandshake(time),
            WireguardPeerAttribute::RxBytes(7),
            WireguardPeerAttribute::TxBytes(8),
            WireguardPeerAttribute::AllowedIps(vec![allowed_ip(&net("10.2.0.0/16"))]),
        ]),
        part(vec![WireguardPeerAttribute::AllowedIps(vec![allowed_ip(
            &net("fd02::/48"),
        )])]),
    ]);

    let stats = PeerStats {
        last_handshake: Some(SystemTime::UNIX_EPOCH + Duration::new(1_000, 5)),
        rx_bytes: 7,
        tx_bytes: 8,
        endpoint: Some(endpoint()),
    };
    let allowed_ips = config(&["10.2.0.0/16", "fd02::/48"]).allowed_ips;
    assert_eq!(
        found,
        BTreeMap::from([(
            PublicKey([1; 32]),
            FoundPeer {
                allowed_ips,
                keepalive: 0,
                stats
            }
        )])
    );
}

#[test]
fn a_peer_that_never_shook_hands_has_no_handshake() {
    assert_eq!(system_time(WireguardTimeSpec::default()), None);
}

#[test]
fn the_device_is_asked_for_by_name() {
    let message = get_device("isthmus0");

    assert_eq!(u8::from(message.cmd), 0);
    assert_eq!(bytes(&message), attribute(2, b"isthmus0\0"));
}

/// An attribute: its length without padding, its kind, its value, zeros up to the next four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn device_with(peers: &[Vec<u8>]) -> Vec<u8> {
    let peers: Vec<Vec<u8>> = peers.iter().map(|peer| attribute(NESTED, peer)).collect();
    [
        attribute(2, b"isthmus0\0"),
        attribute(8 | NESTED, &peers.concat()),
    ]
    .concat()
}

/// `struct sockaddr_in` of 192.0.2.1:51872.
fn sockaddr_in() -> Vec<u8> {
    [
        &2_u16.to_ne_bytes()[..],
        &51872_u16.to_be_bytes(),
        &[192, 0, 2, 1],
        &[0; 8],
    ]
    .concat()
}

fn bytes(message: &WireguardMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn endpoint() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 51872))
}

fn config(prefixes: &[&str]) -> PeerConfig {
    PeerConfig {
        endpoint: endpoint(),
        allowed_ips: prefixes.iter().map(|prefix| net(prefix)).collect(),
        is_used: true,
    }
}

fn net(prefix: &str) -> IpNet {
    prefix.parse().unwrap()
}
