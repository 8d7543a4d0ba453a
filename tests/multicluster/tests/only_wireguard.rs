//! Between clusters there is nothing on the wire but WireGuard and the gateways' QUIC.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{fs, time::Duration};

use multicluster::{
    Client, Family, Lab, Mode, Options, Target, Topology,
    capture::{Capture, in_clear_between_clusters},
    wait_until,
};

const SOON: Duration = Duration::from_secs(20);

/// Everything but WireGuard, QUIC, and what neighbours say to each other: ARP, neighbour discovery (ICMPv6 types 133 to 137)
/// and multicast listener reports (after a hop-by-hop header).
const UNEXPECTED: &str = "not arp and not udp port 51872 and not udp port 4700 \
    and not (icmp6 and ip6[40] >= 133 and ip6[40] <= 137) and not (ip6[6] = 0 and ip6[40] = 58)";

const WIREGUARD: &str = "udp port 51872";

multicluster::in_both_modes!(
    a_capture_between_the_clusters_has_only_wireguard_and_quic,
    nothing_is_in_clear_while_agents_end_devices_go_and_keys_change,
    nothing_is_in_clear_from_a_node_that_starts_before_it_has_heard_of_anybody,
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
        let unexpected = Capture::start(&lab, device, UNEXPECTED).unwrap();
        captures.push((unexpected, Capture::start(&lab, device, WIREGUARD).unwrap()));
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

    for (unexpected, wireguard) in captures {
        assert_eq!(unexpected.finish().unwrap(), Vec::<String>::new());
        let seen = wireguard.finish().unwrap();
        assert!(!seen.is_empty(), "no WireGuard was seen");
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
    let captures = devices.iter().map(|d| Capture::start(&lab, d, &filter));
    let mut captures: Vec<_> = captures.map(Result::unwrap).collect();
    // What leaves east in clear may find no way to west.
    captures.extend(Capture::everywhere(&lab, &in_clear_between_clusters(&lab)).unwrap());
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
    for capture in captures {
        assert_eq!(capture.finish().unwrap(), Vec::<String>::new());
    }
}

/// East's node is booted: what it knew is on its disk. West's node is new: what it may not send was told by a flag.
fn nothing_is_in_clear_from_a_node_that_starts_before_it_has_heard_of_anybody(mode: Mode) {
    let mut topology = Topology::demo().unwrap().named(&mode.lab("start"));
    let east_ranges: Vec<_> = topology.clusters[0].pod_cidrs.iter().collect();
    let only = east_ranges.iter().map(ToString::to_string);
    let only = only.collect::<Vec<_>>().join(",");
    topology.clusters[1].agent_args = vec!["--tunnel-only".to_owned(), only];
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http("10.101.0.10", 80, Family::V4);
    let both = ["east", "west"];
    client.wait_for_clusters(&both, SOON, http).unwrap();
    let agents = ["east", "west"].map(|cluster| Target::agent(cluster, "n1"));
    let gateways = both.map(Target::gateway);

    for gateway in &gateways {
        lab.kill(gateway).unwrap();
    }
    for agent in &agents {
        lab.kill(agent).unwrap();
        forget(&lab, agent);
    }
    let state = lab.plan().run_dir().join("agents").join("west-n1");
    fs::remove_dir_all(state).unwrap();
    for agent in &agents {
        lab.start(agent).unwrap();
        // It says how it is only once all that it opens is open.
        wait_until(SOON, &format!("{agent} is up"), || {
            Ok(lab
                .admin(agent, "/livez")
                .is_ok_and(|answer| answer.status == 200))
        })
        .unwrap();
    }
    let captures = Capture::everywhere(&lab, &in_clear_between_clusters(&lab)).unwrap();
    let (interval, timeout) = (Duration::from_millis(5), Duration::from_millis(200));
    let address = |pod: &str| lab.plan().pod(pod).unwrap().addresses[0].to_string();
    let to_west = client.traffic(&address("west/web-1"), 8080, interval, timeout);
    let client_of_west = Client::new(&lab, "west/web-1");
    let to_east = client_of_west.traffic(&address("east/web-1"), 8080, interval, timeout);
    for traffic in [to_west.as_ref().unwrap(), to_east.as_ref().unwrap()] {
        wait_until(SOON, "calls that fail", || Ok(traffic.calls().len() >= 20)).unwrap();
        assert!(traffic.calls().iter().all(|call| call.error.is_some()));
    }

    for gateway in &gateways {
        lab.start_and_wait(gateway, SOON).unwrap();
    }
    client.wait_for_clusters(&both, SOON, http).unwrap();
    for traffic in [to_west.unwrap(), to_east.unwrap()] {
        traffic.wait_for_successes(20, SOON).unwrap();
        traffic.stop();
    }
    for capture in captures {
        assert_eq!(capture.finish().unwrap(), Vec::<String>::new());
    }
}

/// Takes from a node what a kernel forgets that is booted.
fn forget(lab: &Lab, agent: &Target) {
    let Target::Agent { cluster, node } = agent else {
        unreachable!("it is an agent");
    };
    for argv in [
        // The kernel's WireGuard outlives the agent; the embedded one's device has gone with it.
        ["sh", "-c", "ip link del isthmus0 || true"].as_slice(),
        &["ip", "-4", "route", "flush", "proto", "73"],
        &["ip", "-6", "route", "flush", "proto", "73"],
    ] {
        let done = lab.spawn_on_node(cluster, node, argv).unwrap();
        assert!(done.wait().unwrap().status.success());
    }
    let remote = if cluster == "east" {
        "10.2.0.1"
    } else {
        "10.1.0.1"
    };
    let asked = lab.spawn_on_node(cluster, node, ["ip", "route", "get", remote]);
    let route = asked.unwrap().wait().unwrap();
    assert!(String::from_utf8_lossy(&route.stdout).contains("dev eth0"));
}

#[test]
#[ignore = "needs root"]
fn a_capture_sees_what_is_not_wireguard() {
    let topology = Topology::demo().unwrap().named("wireplain");
    let lab = Lab::up(&topology, &Options::without_daemons()).unwrap();
    let west = lab.plan().node("west", "n1").unwrap();
    let plain = Capture::start(&lab, &west.device, UNEXPECTED).unwrap();

    let url = format!("http://{}:1/", west.ipv4);
    let call = lab.spawn_on_node("east", "n1", ["curl", "-s", "-m", "1", &url]);
    call.unwrap().wait().unwrap();

    assert!(plain.first().unwrap().contains("172.18.2.11.1"));
}

#[test]
#[ignore = "needs root"]
fn a_capture_sees_what_leaves_for_another_clusters_pods_in_clear() {
    let topology = Topology::demo().unwrap().named("wirepods");
    let lab = Lab::up(&topology, &Options::without_daemons()).unwrap();
    let filter = in_clear_between_clusters(&lab);
    let east = lab.plan().node("east", "n1").unwrap();
    let plain = Capture::start(&lab, &east.device, &filter).unwrap();
    let remote = lab.plan().pod("west/web-1").unwrap().addresses[0];

    let url = format!("http://{remote}:8080/");
    lab.exec("east/client", ["curl", "-s", "-m", "1", &url])
        .unwrap();

    assert!(plain.first().unwrap().contains(&remote.to_string()));
}
