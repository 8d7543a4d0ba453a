//! The tunnel's MTU: what fits the path, what pods behind the node are told, and that it follows a change.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use super::net::{ATTEMPT, Node, Pair, Pod, eventually};

/// How long a change of the path may take to be followed.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs root"]
fn packets_up_to_what_the_path_carries_pass_whole() {
    let pair = Pair::up("mtu");
    pair.connect();
    for underlay in [1340, 1500, 4000, 9000, 9060] {
        for node in [&pair.a, &pair.b] {
            node.ip(&["link", "set", "under0", "mtu", &underlay.to_string()]);
        }
        let inside = underlay - 60;
        for node in [&pair.a, &pair.b] {
            wait_for_mtu(node, inside);
        }
        for (from, to) in pair.a.pods.into_iter().zip(pair.b.pods) {
            let headers = if to.is_ipv4() { 28 } else { 48 };
            let fitting = inside - headers;
            assert!(passes_unfragmented(&pair, from, to, fitting), "{underlay}");
            let error = send_unfragmented(&pair, from, to, fitting + 1).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{underlay}");
            let sent = 500_000;
            assert_eq!(pair.a.ask_tcp(&pair.b, to, sent), Some(sent), "{underlay}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_narrowed_route_narrows_the_tunnel_and_a_wide_one_does_not() {
    let pair = Pair::up("route");
    pair.connect();
    wait_for_mtu(&pair.a, 1440);

    let peer = format!("{}/32", pair.b.underlay);
    pair.a
        .ip(&["route", "add", &peer, "dev", "under0", "mtu", "1400"]);
    wait_for_mtu(&pair.a, 1340);

    pair.a.ip(&["route", "del", &peer]);
    wait_for_mtu(&pair.a, 1440);
}

#[test]
#[ignore = "needs root"]
fn a_pod_is_told_that_its_packet_is_too_big_for_the_tunnel() {
    let pair = Pair::up("toobig");
    pair.connect();
    wait_for_mtu(&pair.a, 1440);
    let pod = Pod::behind(&pair.a);

    for (from, to) in pod.addresses.into_iter().zip(pair.b.pods) {
        let socket = pod.inside(move || unfragmented(from).unwrap());
        let target = SocketAddr::new(to, 9);
        let headers = if to.is_ipv4() { 28 } else { 48 };
        // The pod's own device takes 1500 bytes; that the way is narrower, the node says.
        eventually(FOLLOWED_WITHIN, || {
            let sent = socket.send_to(&vec![0; 1500 - headers], target);
            let told = sent.is_err_and(|error| error.raw_os_error() == Some(libc::EMSGSIZE));
            told.then_some(())
        });
        socket.send_to(&vec![0; 1440 - headers], target).unwrap();
    }
}

/// Waits until the tunnel device has an MTU.
pub(super) fn wait_for_mtu(node: &Node, mtu: usize) {
    let wanted = format!("mtu {mtu} ");
    eventually(FOLLOWED_WITHIN, || {
        let shown = node.ip(&["link", "show", "isthmus0"]);
        shown.contains(&wanted).then_some(())
    });
}

fn passes_unfragmented(pair: &Pair, from: IpAddr, to: IpAddr, len: usize) -> bool {
    let server = pair.b.inside(move || UdpSocket::bind((to, 7001)).unwrap());
    server.set_read_timeout(Some(ATTEMPT)).unwrap();
    let mut buffer = vec![0; 70_000];
    eventually(FOLLOWED_WITHIN, || {
        send_unfragmented(pair, from, to, len).ok()?;
        (server.recv(&mut buffer).ok()? == len).then_some(())
    });
    true
}

fn send_unfragmented(pair: &Pair, from: IpAddr, to: IpAddr, len: usize) -> io::Result<usize> {
    let socket = pair.a.inside(move || unfragmented(from))?;
    socket.send_to(&vec![5; len], (to, 7001))
}

/// A socket whose datagrams are never fragmented.
fn unfragmented(from: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((from, 0))?;
    let (level, option) = match from {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    let always = libc::IP_PMTUDISC_DO;
    // SAFETY: the pointer is to an integer of the length given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const always).cast(),
            size_of_val(&always) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}
