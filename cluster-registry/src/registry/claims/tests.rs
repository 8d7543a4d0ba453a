//! Tests of claims: the first holder keeps what it holds, this cluster comes before all, and nothing is lost by waiting.

use proptest::prelude::*;

use super::*;
use crate::{
    cluster::Control,
    digest::KeyRange,
    import::Grants,
    link::LinkSpec,
    registry::Registry,
    store::Epoch,
    testing::{cluster, endpoint, ip, key, link, node, node_name, service, shop, tunnel},
};

#[test]
fn ranges_of_this_cluster_are_refused_also_when_wider_or_narrower() {
    let mut east = registry();
    for address in ["10.1.0.9", "192.0.2.1", "fd00:1::9", "172.16.0.10"] {
        let refused = say_endpoint(&mut east, "west", address).unwrap_err();
        assert_eq!(refused.label(), "own_range", "{address}");
    }
    for range in [
        "10.0.0.0/8",
        "10.1.0.128/25",
        "10.1.0.0/24",
        "fd00:1::/48",
        "172.16.0.0/16",
    ] {
        let refused = say_node(&mut east, "west", "n1", &[], &[range]).unwrap_err();
        assert_eq!(refused.label(), "own_range", "{range}");
    }
    let refused = say_node(&mut east, "west", "n1", &["192.0.2.1"], &[]).unwrap_err();
    assert_eq!(refused.label(), "own_range");
}

#[test]
fn a_node_may_not_take_the_way_to_an_endpoint_of_this_cluster_that_is_in_no_nodes_range() {
    let mut east = registry();
    let database = ResourceId::Endpoint(shop("db"), ip("10.50.0.9"));
    east.apply_local(&database, Some(Resource::from(endpoint(true))), None);

    let refused = say_node(&mut east, "west", "n1", &[], &["10.50.0.0/16"]).unwrap_err();
    assert_eq!(refused.label(), "own_range");

    // Two clusters may well use one and the same database.
    assert_eq!(say_endpoint(&mut east, "west", "10.50.0.9"), Ok(()));
}

#[test]
fn a_tunnel_may_not_draw_probes_to_this_clusters_addresses() {
    let mut east = registry();
    let mut stolen = tunnel(1);
    stolen.probe_address = ip("10.1.0.9");

    let refused = say(
        &mut east,
        "west",
        ResourceId::Tunnel(node_name("n1")),
        Resource::from(stolen),
    );

    assert_eq!(refused.unwrap_err().label(), "own_range");
    assert_eq!(say_tunnel(&mut east, "west", "n1", 1), Ok(()));
}

#[test]
fn the_first_holder_of_a_range_keeps_it_whatever_the_second_says() {
    let mut east = registry();
    say_node(&mut east, "west", "n1", &[], &["10.2.0.0/24"]).unwrap();
    say_endpoint(&mut east, "west", "10.60.0.1").unwrap();
    let before = east.feed().cursor();

    for range in [
        "10.2.0.0/24",
        "10.2.0.0/16",
        "10.2.0.128/25",
        "10.60.0.0/24",
    ] {
        let refused = say_node(&mut east, "north", "n1", &[], &[range]).unwrap_err();
        let by = cluster("west");
        let range = range.parse().unwrap();
        assert_eq!(refused, Refusal::RangeHeld { range, by });
    }
    let refused = say_endpoint(&mut east, "north", "10.2.0.7").unwrap_err();
    assert_eq!(refused.label(), "range_held");

    assert_eq!(east.feed().cursor(), before);
    assert_eq!(east.peer_summary(&cluster("north")).unwrap().withheld, 2);
}

#[test]
fn what_waits_for_a_range_is_shown_once_its_holder_gives_it_up() {
    let mut east = registry();
    say_node(&mut east, "west", "n1", &[], &["10.2.0.0/24"]).unwrap();
    say_node(&mut east, "north", "n1", &[], &["10.2.0.0/16"]).unwrap_err();
    say_endpoint(&mut east, "north", "10.2.0.7").unwrap_err();

    gone(&mut east, "west", ResourceId::Node(node_name("n1")));

    let shown = shown(&east, "north");
    let endpoint = ResourceId::Endpoint(shop("web"), ip("10.2.0.7"));
    assert_eq!(shown, [ResourceId::Node(node_name("n1")), endpoint]);
    assert_eq!(east.peer_summary(&cluster("north")).unwrap().withheld, 0);
    let refused = say_node(&mut east, "west", "n1", &[], &["10.2.0.0/24"]);
    assert_eq!(refused.unwrap_err().label(), "range_held");
}

#[test]
fn what_waits_is_shown_when_its_holder_expires_or_its_link_goes() {
    for is_removed in [true, false] {
        let mut east = registry();
        say_node(&mut east, "west", "n1", &[], &["10.2.0.0/24"]).unwrap();
        say_node(&mut east, "north", "n1", &[], &["10.2.0.0/24"]).unwrap_err();

        match is_removed {
            true => east.remove_peer(&cluster("west")),
            false => east.drop_peer_state(&cluster("west")),
        }

        assert_eq!(shown(&east, "north"), [ResourceId::Node(node_name("n1"))]);
    }
}

#[test]
fn this_cluster_takes_its_ranges_from_whoever_holds_them_and_gives_them_back() {
    let mut east = registry();
    say_node(&mut east, "west", "n1", &[], &["10.9.0.0/24"]).unwrap();
    say_endpoint(&mut east, "north", "10.9.1.1").unwrap();
    let own = ResourceId::Node(node_name("new"));
    let value = Resource::from(node(&[], &["10.9.0.0/16"]));

    east.apply_local(&own, Some(value), None);
    assert_eq!(shown(&east, "west"), []);
    assert_eq!(shown(&east, "north"), []);

    east.apply_local(&own, None, None);
    assert_eq!(shown(&east, "west"), [ResourceId::Node(node_name("n1"))]);
    assert_eq!(shown(&east, "north").len(), 1);
}

#[test]
fn a_tunnel_key_is_one_nodes_only() {
    let mut east = registry();
    east.apply_tunnel(&node_name("own"), Some(tunnel(9).into()), None);
    say_tunnel(&mut east, "west", "n1", 1).unwrap();

    for (cluster, node, seed) in [("north", "n1", 1), ("west", "n2", 1), ("north", "n1", 9)] {
        let refused = say_tunnel(&mut east, cluster, node, seed).unwrap_err();
        assert_eq!(refused.label(), "key_held", "{cluster} {node}");
    }
    // Its own node may say it again, and with another port.
    assert_eq!(say_tunnel(&mut east, "west", "n1", 1), Ok(()));

    gone(&mut east, "west", ResourceId::Tunnel(node_name("n1")));
    assert_eq!(shown(&east, "west"), [ResourceId::Tunnel(node_name("n2"))]);
}

#[test]
fn a_value_that_only_the_grants_keep_back_is_shown_when_they_are_widened() {
    let mut east = registry();
    let mut narrow = link("west");
    narrow.grants = Grants {
        cidrs: vec!["10.2.0.0/16".parse().unwrap()],
        ..Grants::default()
    };
    east.change_peer(&narrow);
    say_endpoint(&mut east, "west", "10.3.0.1").unwrap_err();
    assert_eq!(shown(&east, "west"), []);

    east.change_peer(&link("west"));

    assert_eq!(shown(&east, "west").len(), 1);
}

#[test]
fn a_snapshot_that_leaves_out_what_is_withheld_forgets_it() {
    let mut east = registry();
    say_node(&mut east, "west", "n1", &[], &["10.2.0.0/24"]).unwrap();
    say_node(&mut east, "north", "n1", &[], &["10.2.0.0/24"]).unwrap_err();

    east.handle_import_begin(&cluster("north"), &[KeyRange::default()]);
    east.handle_import_end(&cluster("north"));
    gone(&mut east, "west", ResourceId::Node(node_name("n1")));

    assert_eq!(shown(&east, "north"), []);
    assert_eq!(east.peer_summary(&cluster("north")).unwrap().nodes, 0);
}

proptest! {
    #[test]
    fn the_index_of_ranges_finds_what_a_walk_finds(
        held in prop::collection::vec((any::<u8>(), 8u8..=32), 0..8),
        asked in (any::<u8>(), 8u8..=32),
    ) {
        let range = |(byte, length): (u8, u8)| {
            IpNet::new(IpAddr::from([10, byte, byte, byte]), length).unwrap()
        };
        let held: Vec<IpNet> = held.into_iter().map(range).collect();
        let mut claims = Claims::new(cluster("east"));
        let node = |pod_cidrs: Vec<IpNet>| Resource::from(crate::node::Node { pod_cidrs, ..Default::default() });
        let holder = key("west", ResourceId::Node(node_name("n1")));
        claims.replace(&holder, None, Some(&node(held.clone())));
        let asked = range(asked);

        let asking = key("north", ResourceId::Node(node_name("n1")));
        let blocked = claims.blocker(&asking, &node(vec![asked])).is_some();

        let overlap = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
        prop_assert_eq!(blocked, held.iter().any(|held| overlap(&held.trunc(), &asked.trunc())));
        let freed = claims.replace(&holder, Some(&node(held)), None);
        prop_assert!(freed.is_empty() && claims.routed.is_empty() && claims.lengths.is_empty());
    }

    /// Whatever is said in whatever order, no two clusters hold what overlaps, and what waits has something to wait for.
    #[test]
    fn no_history_lets_two_clusters_hold_one_range(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut east = registry();
        for (name, node, range) in steps {
            let id = ResourceId::Node(node_name(node));
            match range {
                Some(range) if name == "east" => {
                    let value = Resource::from(crate::testing::node(&[], &[range]));
                    east.apply_local(&id, Some(value), None);
                }
                Some(range) => drop(say_node(&mut east, name, node, &[], &[range])),
                None if name == "east" => east.apply_local(&id, None, None),
                None => gone(&mut east, name, id),
            }
            let mut held: Vec<(ClusterName, IpNet)> = Vec::new();
            for (key, value) in east.feed().iter() {
                if let Resource::Node(node) = value {
                    held.extend(node.pod_cidrs.first().map(|range| (key.cluster, *range)));
                }
            }
            for (at, (one, range)) in held.iter().enumerate() {
                for (other, second) in &held[at + 1..] {
                    let overlaps = range.contains(second) || second.contains(range);
                    prop_assert!(one == other || !overlaps, "{one} {range}, {other} {second}");
                }
            }
            for peer in east.peers.iter() {
                for (id, withheld) in &peer.withheld {
                    let key = peer.key(id.clone());
                    prop_assert!(east.claims.blocker(&key, &withheld.value).is_some(), "{key:?} waits for nothing");
                }
            }
        }
    }
}

fn any_step() -> impl Strategy<Value = (&'static str, &'static str, Option<&'static str>)> {
    let clusters = prop::sample::select(vec!["east", "north", "west"]);
    let nodes = prop::sample::select(vec!["a", "b", "c"]);
    let ranges = prop::sample::select(vec![
        "10.7.0.0/16",
        "10.7.1.0/24",
        "10.7.1.128/25",
        "10.8.0.0/24",
    ]);
    (clusters, nodes, prop::option::weighted(0.7, ranges))
}

/// East, with a node, a service and two peers.
fn registry() -> Registry {
    let mut east = Registry::new(cluster("east"), Epoch(1), Epoch(2));
    let pods = ["10.1.0.0/24", "fd00:1::/64"];
    let own = Resource::from(node(&["192.0.2.1"], &pods));
    east.apply_local(&ResourceId::Node(node_name("own")), Some(own), None);
    let dns = Resource::from(service(&["172.16.0.10"], false, false));
    east.apply_local(&ResourceId::Service(shop("dns")), Some(dns), None);
    for name in ["west", "north"] {
        east.add_peer(&LinkSpec::new(cluster(name)));
        east.set_control(&cluster(name), Control::Connected);
    }
    east
}

fn say(east: &mut Registry, from: &str, id: ResourceId, value: Resource) -> Result<(), Refusal> {
    east.handle_import(&cluster(from), key(from, id), Some(value), None)
}

fn gone(east: &mut Registry, from: &str, id: ResourceId) {
    east.handle_import(&cluster(from), key(from, id), None, None)
        .unwrap();
}

fn say_node(
    east: &mut Registry,
    from: &str,
    name: &str,
    addresses: &[&str],
    ranges: &[&str],
) -> Result<(), Refusal> {
    let value = Resource::from(node(addresses, ranges));
    say(east, from, ResourceId::Node(node_name(name)), value)
}

fn say_endpoint(east: &mut Registry, from: &str, address: &str) -> Result<(), Refusal> {
    let id = ResourceId::Endpoint(shop("web"), ip(address));
    say(east, from, id, Resource::from(endpoint(true)))
}

fn say_tunnel(east: &mut Registry, from: &str, name: &str, seed: u8) -> Result<(), Refusal> {
    say(
        east,
        from,
        ResourceId::Tunnel(node_name(name)),
        Resource::from(tunnel(seed)),
    )
}

fn shown(east: &Registry, of: &str) -> Vec<ResourceId> {
    let of = cluster(of);
    let known = east.feed().iter_of(&of).map(|(key, _)| key.id);
    known.filter(|id| *id != ResourceId::Cluster).collect()
}
