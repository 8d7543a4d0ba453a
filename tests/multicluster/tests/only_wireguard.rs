//! Between clusters there is nothing on the wire but WireGuard and the gateways' QUIC.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    io::{BufRead, BufReader},
    time::Duration,
};

use multicluster::{Client, Family, Lab, Mode, Options, Process, Target, Topology, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// Everything but WireGuard, QUIC, and what neighbours say to each other: ARP, neighbour discovery (ICMPv6 types 133 to 137)
/// and multicast listener reports (after a hop-by-hop header).
const UNEXPECTED: &str = "not arp and not udp port 51872 and not udp port 4700 \
    and not (icmp6 and ip6[40] >= 133 and ip6[40] <= 137) and not (ip6[6] = 0 and ip6[40] = 58)";

multicluster::in_both_modes!(
    a_capture_between_the_clusters_has_only_wireguard_and_quic,
    nothing_is_in_clear_while_agents_end_devices_go_and_keys_change,
);

fn a_capture_between_the_clusters_has_only_wireguard_and_quic(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("wire"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let west: Vec<_> = lab
        .plan()
        .nodes_of("west")
        .map(|n| n.device.clone())
        .collect();
    let mut captures = Vec::new();
    for device in &west {
        captures.push(capture(&lab, device, UNEXPECTED));
        captures.push(capture(&lab, device, "udp port 51872"));
    }

    for (family, host) in [(Family::V4, "10.101.0.10"), (Family::V6, "fd00:101:1::10")] {
        let both = ["east", "west"];
        client
            .wait_for_clusters(&both, SOON, |c| c.http(host, 80, family))
            .unwrap();
        client
            .wait_for_clusters(&both, SOON, |c| c.udp(host, 7, family))
            .unwrap();
    }

    for pair in captures.chunks_mut(2) {
        let [unexpected, wireguard] = pair else {
            unreachable!("captures are made in pairs");
        };
        // tcpdump prints each packet at once, so what it prints on being stopped is all there is.
        assert_eq!(packets(unexpected), Vec::<String>::new());
        assert!(!packets(wireguard).is_empty(), "no WireGuard was seen");
    }
}

fn nothing_is_in_clear_while_agents_end_devices_go_and_keys_change(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("leak"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let web = "10.101.0.10";
    let both_answer = || {
        let both = ["east", "west"];
        let http = |c: &Client<'_>| c.http(web, 80, Family::V4);
        client.wait_for_clusters(&both, SOON, http).unwrap();
    };
    both_answer();
    let west = lab.plan().nodes_of("west");
    let devices: Vec<_> = west.map(|node| node.device.clone()).collect();
    // That nobody listens for WireGuard while an agent is away, nodes say to each other.
    let filter = format!("{UNEXPECTED} and not (icmp[0] = 3 and icmp[30:2] = 51872)");
    let captures = devices.iter().map(|d| capture(&lab, d, &filter));
    let captures: Vec<_> = captures.collect();
    // What a pod sends to a remote pod itself is in nobody's hands but the routes'.
    let remote = lab.plan().pod("west/web-1").unwrap().addresses[0].to_string();
    let (interval, timeout) = (Duration::from_millis(5), Duration::from_millis(200));
    let to_frontend = client.traffic(web, 80, interval, timeout).unwrap();
    let to_pod = client.traffic(&remote, 8080, interval, timeout).unwrap();

    for target in [Target::agent("east", "n1"), Target::agent("west", "n1")] {
        let order = lab.order(&target, "/v1/tunnel/rotate-key").unwrap();
        assert_eq!(order.status, 202);
        lab.kill(&target).unwrap();
        let calls = to_pod.calls().len();
        wait_until(SOON, "more calls", || Ok(to_pod.calls().len() > calls + 20)).unwrap();
        lab.start_and_wait(&target, SOON).unwrap();
        both_answer();
    }
    let deleted = lab.spawn_on_node("east", "n1", ["ip", "link", "del", "isthmus0"]);
    deleted.unwrap().wait().unwrap();
    both_answer();

    to_frontend.stop();
    to_pod.stop();
    for mut capture in captures {
        assert_eq!(packets(&mut capture), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs root"]
fn a_capture_sees_what_is_not_wireguard() {
    let topology = Topology::demo().unwrap().named("wireplain");
    let lab = Lab::up(&topology, &Options::without_daemons()).unwrap();
    let west = lab.plan().node("west", "n1").unwrap();
    let mut plain = capture(&lab, &west.device, UNEXPECTED);

    let url = format!("http://{}:1/", west.ipv4);
    let call = lab.spawn_on_node("east", "n1", ["curl", "-s", "-m", "1", &url]);
    call.unwrap().wait().unwrap();

    let first = BufReader::new(plain.take_stdout().unwrap()).lines().next();
    assert!(first.unwrap().unwrap().contains("172.18.2.11.1"));
}

/// Starts a capture and waits until it is at work.
fn capture(lab: &Lab, device: &str, filter: &str) -> Process {
    let argv = [
        "tcpdump",
        "-n",
        "-l",
        "--immediate-mode",
        "-i",
        device,
        filter,
    ];
    let mut process = lab.spawn_between_nodes(argv).unwrap();
    let mut said = BufReader::new(process.take_stderr().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("listening on")));
    process
}

fn packets(capture: &mut Process) -> Vec<String> {
    let stdout = capture.take_stdout().unwrap();
    capture.kill();
    BufReader::new(stdout).lines().map(Result::unwrap).collect()
}
