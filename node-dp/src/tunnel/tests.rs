//! Two nodes in two network namespaces, joined by a veth, with an embedded tunnel each.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::*;

mod clamp;
mod inside;
mod interop;
mod mtu;
mod net;
mod offload;
mod plain;
mod probing;
mod protocol;
mod rotation;
mod wire;

use net::{Node, Pair, eventually};
use node_dp_core::verdict::Path;
use probing::Probing;
use wire::Capture;

/// The protocol repeats a handshake every five seconds and a little more, so as not to meet the other side's; the kernel
/// does just that.
const HANDSHAKE_REPEATED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_device_has_a_name_that_the_kernel_takes() {
    for good in ["isthmus0", "a", "fifteen-bytes-x"] {
        assert!(check_device(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        ".",
        "..",
        "a/b",
        "a b",
        "a:b",
        "sixteen-bytes-xx",
        "\u{e9}",
    ] {
        assert!(check_device(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_mode_is_read_from_its_name() {
    assert_eq!("auto".parse(), Ok(Mode::Auto));
    assert_eq!("kernel".parse(), Ok(Mode::Kernel));
    assert_eq!("userspace".parse(), Ok(Mode::Userspace));
    assert!("off".parse::<Mode>().is_err());
}

#[test]
#[ignore = "needs root"]
fn ping_udp_and_tcp_pass_in_both_families_and_only_wireguard_is_on_the_wire() {
    let pair = Pair::up("pass");
    let capture = Capture::start(&pair.b);

    pair.connect();

    for (client, server) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        for address in server.pods {
            client.ping(address);
            assert_eq!(client.ask_udp(server, address), Some(b"datagram".to_vec()));
            let sent = 300_000;
            assert_eq!(client.ask_tcp(server, address, sent), Some(sent));
        }
    }
    let seen = capture.finish();
    assert!(seen.wireguard_bytes > 1_200_000, "{seen:?}");
    assert_eq!(seen.others, 0, "{seen:?}");
}

#[test]
#[ignore = "needs root"]
fn traffic_passes_over_an_ipv6_underlay_and_follows_its_mtu() {
    let pair = Pair::up_over("six", ["2001:db8::1", "2001:db8::2"]);
    let capture = Capture::start(&pair.b);

    pair.connect();

    for address in pair.b.pods {
        pair.a.ping(address);
        let sent = 300_000;
        assert_eq!(pair.a.ask_tcp(&pair.b, address, sent), Some(sent));
    }
    // Twenty bytes less than over IPv4.
    mtu::wait_for_mtu(&pair.a, 1420);
    let seen = capture.finish();
    assert!(seen.wireguard_bytes > 600_000, "{seen:?}");
    assert_eq!(seen.others, 0, "{seen:?}");
}

#[test]
#[ignore = "needs root"]
fn the_capture_sees_what_goes_in_clear() {
    let pair = Pair::up("clear");
    let capture = Capture::start(&pair.b);

    // Without routes of ours, the default route leads onto the wire.
    pair.a.send_udp(pair.b.pods[0]).unwrap();
    pair.a.send_udp(pair.b.underlay).unwrap();

    assert!(capture.finish().others > 0);
}

#[test]
#[ignore = "needs root"]
fn a_removed_peer_gets_nothing_and_nothing_goes_in_clear() {
    let pair = Pair::up("gone");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);
    let capture = Capture::start(&pair.b);

    pair.a.configure(BTreeMap::new(), pair.a.routes_to(&pair.b));

    for address in pair.b.pods {
        assert_eq!(pair.a.ask_udp(&pair.b, address), None);
    }
    assert_eq!(capture.finish().others, 0);
}

#[test]
#[ignore = "needs root"]
fn packets_to_remote_pods_are_refused_while_the_device_is_away() {
    let mut pair = Pair::up("away");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);
    let capture = Capture::start(&pair.b);

    pair.a.close_tunnel();

    for address in pair.b.pods {
        let error = pair.a.send_udp(address).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH), "{address}");
    }
    assert_eq!(capture.finish().others, 0);
}

#[test]
#[ignore = "needs root"]
fn a_reopened_tunnel_carries_traffic_at_once() {
    let mut pair = Pair::up("back");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);

    pair.a.close_tunnel();
    pair.a.open_tunnel();
    pair.a.configure_towards(&pair.b);

    // Towards the reopened side, whose peer still encrypts to the session that is gone.
    let waited = eventually(Duration::from_secs(3), || {
        pair.b.ask_udp(&pair.a, pair.a.pods[0])
    });
    assert!(waited < Duration::from_secs(2), "{waited:?}");
}

#[test]
#[ignore = "needs root"]
fn a_healed_network_carries_traffic_at_once() {
    let pair = Pair::up("heal");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);
    for how in ["blackhole", "unreachable", "prohibit"] {
        pair.a.cut(&pair.b, how);
        assert_eq!(pair.a.ask_udp(&pair.b, pair.b.pods[0]), None);

        pair.a.heal(&pair.b, how);

        let waited = eventually(Duration::from_secs(3), || {
            pair.a.ask_udp(&pair.b, pair.b.pods[0])
        });
        assert!(waited < Duration::from_secs(1), "{how}: {waited:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_handshake_that_was_due_during_a_cut_is_made_soon_after_the_heal() {
    let pair = Pair::up("due");
    pair.a.cut(&pair.b, "unreachable");
    pair.connect();
    assert_eq!(pair.a.ask_udp(&pair.b, pair.b.pods[0]), None);

    pair.a.heal(&pair.b, "unreachable");

    let waited = eventually(HANDSHAKE_REPEATED_WITHIN, || {
        pair.a.ask_udp(&pair.b, pair.b.pods[0])
    });
    if !pair.a.is_kernels() && !pair.b.is_kernels() {
        assert!(waited < Duration::from_secs(3), "{waited:?}");
    }
    let stats = pair.a.stats();
    let stats = stats.get(&pair.b.public_key()).unwrap();
    assert!(stats.last_handshake.is_some());
    assert!(stats.tx_bytes > 0 && stats.rx_bytes > 0);
}

#[test]
#[ignore = "needs root"]
fn a_change_of_allowed_addresses_keeps_the_session() {
    let pair = Pair::up("keep");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);
    let before = pair.a.stats()[&pair.b.public_key()].clone();

    let mut peer = pair.b.as_peer();
    peer.allowed_ips.insert("10.99.0.0/16".parse().unwrap());
    pair.a.configure(
        BTreeMap::from([(peer.public_key, peer)]),
        pair.a.routes_to(&pair.b),
    );

    pair.a.ping(pair.b.pods[0]);
    let after = pair.a.stats()[&pair.b.public_key()].clone();
    assert!(after.tx_bytes > before.tx_bytes);
    let age = |stats: &PeerStats| stats.last_handshake.unwrap();
    let moved = age(&after).duration_since(age(&before)).unwrap_or_default();
    assert!(
        moved < Duration::from_millis(500),
        "a new handshake was made"
    );
}

#[test]
#[ignore = "needs root"]
fn a_device_deleted_or_taken_down_under_the_tunnel_is_noticed_and_opened_anew() {
    let mut pair = Pair::up("lost");
    for harm in [
        ["link", "set", "isthmus0", "down"].as_slice(),
        &["link", "del", "isthmus0"],
    ] {
        pair.connect();
        pair.a.ping(pair.b.pods[0]);

        pair.a.ip(harm);

        assert!(pair.a.is_lost_within(Duration::from_secs(5)), "{harm:?}");
        let error = pair.a.send_udp(pair.b.pods[0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH), "{harm:?}");
        pair.a.reopen_tunnel();
    }
    pair.connect();
    pair.a.ping(pair.b.pods[0]);
}

#[test]
#[ignore = "needs root"]
fn a_node_whose_own_address_changes_is_followed_and_its_tunnel_goes_on() {
    let pair = Pair::up("moved");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);
    let before = pair.b.stats()[&pair.a.public_key()].clone();

    pair.a.ip(&["-4", "addr", "flush", "dev", "under0"]);
    pair.a
        .ip(&["addr", "add", "192.0.2.77/24", "dev", "under0"]);

    eventually(Duration::from_secs(10), || {
        pair.a.ask_udp(&pair.b, pair.b.pods[0])
    });
    eventually(Duration::from_secs(10), || {
        pair.b.ask_udp(&pair.a, pair.a.pods[0])
    });
    let after = pair.b.stats()[&pair.a.public_key()].clone();
    assert_eq!(after.endpoint, Some("192.0.2.77:51872".parse().unwrap()));
    assert_ne!(after.endpoint, before.endpoint);
}

#[test]
#[ignore = "needs root"]
fn routes_of_others_are_left_alone_and_ours_are_swept() {
    let mut pair = Pair::up("sweep");
    pair.a.ip(&["route", "add", "blackhole", "10.77.0.0/16"]);
    pair.connect();
    let ours = |node: &Node| {
        let v4 = node.ip(&["-4", "route", "show", "proto", "73"]);
        let v6 = node.ip(&["-6", "route", "show", "proto", "73"]);
        (v4 + &v6).lines().count()
    };
    assert_eq!(ours(&pair.a), 2 * pair.a.routes_to(&pair.b).len());
    assert_eq!(
        pair.a.set_routes(pair.a.routes_to(&pair.b)),
        RouteChanges::default()
    );

    pair.a.close_tunnel();
    pair.a.uninstall();

    assert_eq!(ours(&pair.a), 0);
    assert!(pair.a.ip(&["route", "show"]).contains("10.77.0.0/16"));
}

#[test]
#[ignore = "needs root"]
fn the_probe_address_is_on_the_device_and_answers_through_the_tunnel() {
    let pair = Pair::up("probe");
    pair.connect();

    pair.a.ping(IpAddr::V6(pair.b.probe_address()));

    let shown = pair.a.ip(&["-6", "addr", "show", "dev", "isthmus0"]);
    assert!(
        shown.contains(&pair.a.probe_address().to_string()),
        "{shown}"
    );
}

#[test]
#[ignore = "needs root"]
fn probes_through_the_tunnel_see_a_cut_and_its_heal() {
    let pair = Pair::up("see");
    pair.connect();
    let mut a = Probing::start(&pair.a, Some(&pair.b));
    let b = Probing::start(&pair.b, None);
    a.wait_for(Path::Good);

    pair.a.cut(&pair.b, "blackhole");
    let cut = Instant::now();
    a.wait_for(Path::Lost);
    assert!(cut.elapsed() < Duration::from_secs(1));

    pair.a.heal(&pair.b, "blackhole");
    let healed = Instant::now();
    a.wait_for(Path::Good);
    assert!(healed.elapsed() < Duration::from_secs(1));
    drop((a, b));
}

fn endpoint(node: &Node) -> SocketAddr {
    SocketAddr::new(node.underlay, 51872)
}

fn prefixes(node: &Node) -> BTreeSet<IpNet> {
    node.pods
        .iter()
        .copied()
        .chain([node.probe_address().into()])
        .map(IpNet::from)
        .collect()
}
