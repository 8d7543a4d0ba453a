//! Which endpoints are used: none, those of the node, those near to it, those that terminate or are not ready.

use serde_json::json;

use crate::{
    client::{Call, Kind, Wanted},
    matrix::{Cell, Place},
    service::{CONTROL_TARGET, Endpoint},
    world::{Caller, HERE, Row, THERE, World},
};

pub(crate) fn all(world: &mut World) {
    refusals(world);
    internal(world, "internal policy Local, from a pod", Caller::Pod);
    internal(world, "internal policy Local, from the node", Caller::Node);
    terminating(world);
    terminating_here(world);
    terminating_there(world);
    not_ready(world);
    distribution(world);
    hints(world);
    source_ranges(world);
}

/// What the other cluster has and does not share is as if it were not there.
fn refusals(world: &mut World) {
    let mut row = world.row("without endpoints, clients are refused at once");
    row.apply(|service| {
        service.kind = "LoadBalancer";
        service.ip_mode = Some("VIP");
        match service.place {
            Place::SameNode | Place::OtherNode => service.endpoints.clear(),
            Place::OtherCluster => {
                service.annotations_there = [("isthmus.io/shared", "false")].into();
            }
        }
    });
    for cell in Cell::all() {
        let places = [
            row.frontend(cell),
            row.service(cell.place).balanced(cell.family),
            row.node_port(cell, HERE),
            row.node_port(cell, THERE),
        ];
        for place in places {
            for kind in Kind::PROTOCOLS {
                for caller in [Caller::Pod, Caller::Node] {
                    row.expect(cell, caller, Call::new(kind, place), Wanted::Refused);
                }
            }
        }
    }
    row.settle();
}

fn internal(world: &mut World, behaviour: &'static str, caller: Caller) {
    let mut row = world.row(behaviour);
    row.apply(|service| {
        service.spec = [("internalTrafficPolicy", json!("Local"))].into();
        if service.place == Place::SameNode {
            service.endpoints.push(Endpoint::ready("b1"));
        }
    });
    for cell in Cell::all() {
        for kind in Kind::PROTOCOLS {
            let wanted = match cell.place {
                Place::SameNode => Wanted::Pods(cell.place.pods().into()),
                Place::OtherNode | Place::OtherCluster => Wanted::Refused,
            };
            row.expect(cell, caller, Call::new(kind, row.frontend(cell)), wanted);
        }
    }
    row.settle();
}

fn terminating(world: &mut World) {
    let mut row = world.row("endpoints that terminate serve while there are no others");
    row.apply(|service| service.endpoints = service.place.pods().map(Endpoint::terminating).into());
    row.expect_all(|cell| Wanted::Pods(cell.place.pods().into()));
    row.settle();
    row.apply(|service| {
        let [first, second] = service.place.pods();
        service.endpoints = vec![Endpoint::terminating(first), Endpoint::ready(second)];
    });
    row.expect_all(|cell| Wanted::Pods(vec![cell.place.pods()[1]]));
    row.settle();
}

/// The node's own that terminate are better than others' that are ready.
fn terminating_here(world: &mut World) {
    let mut row = world.row("the same under internal policy Local");
    row.apply(|service| {
        service.spec = [("internalTrafficPolicy", json!("Local"))].into();
        let [first, second] = service.place.pods();
        service.endpoints = vec![Endpoint::terminating(first), Endpoint::terminating(second)];
        if service.place == Place::SameNode {
            service.endpoints.push(Endpoint::ready("b1"));
        }
    });
    row.expect_all(|cell| match cell.place {
        Place::SameNode => Wanted::Pods(cell.place.pods().into()),
        Place::OtherNode | Place::OtherCluster => Wanted::Refused,
    });
    row.settle();
}

/// By the other node, where the endpoints are its own or it has none.
fn terminating_there(world: &mut World) {
    let mut row = world.row("the same under external policy Local, by another node");
    row.apply(|service| {
        service.kind = "NodePort";
        service.spec = [("externalTrafficPolicy", json!("Local"))].into();
        service.endpoints = service.place.pods().map(Endpoint::terminating).into();
        if service.place == Place::OtherNode {
            service.endpoints.push(Endpoint::ready("a1"));
        }
    });
    for cell in Cell::all() {
        for kind in Kind::PROTOCOLS {
            let wanted = match cell.place {
                Place::OtherNode => Wanted::Pods(cell.place.pods().into()),
                Place::SameNode | Place::OtherCluster => Wanted::Refused,
            };
            let call = Call::new(kind, row.node_port(cell, THERE));
            row.expect(cell, Caller::Pod, call, wanted);
        }
    }
    row.settle();
}

/// Endpoints that the lab derives from the pods: one that is not ready counts only where that is published.
fn not_ready(world: &mut World) {
    let mut row =
        world.row("pods that are not ready serve where that is published, and once they are");
    let mut is_published = false;
    for step in ["unready", "published", "hidden", "ready"] {
        is_published = match step {
            "published" => true,
            "hidden" => false,
            _ => is_published,
        };
        row.apply(|service| {
            service.endpoints.clear();
            let [pod, _] = service.place.pods();
            service.spec = [
                ("selector", json!({"pod": pod})),
                ("publishNotReadyAddresses", json!(is_published)),
            ]
            .into();
        });
        if step == "unready" || step == "ready" {
            order(&mut row, step);
        }
        row.expect_all(|cell| match step {
            "published" | "ready" => Wanted::Pods(vec![cell.place.pods()[0]]),
            _ => Wanted::Refused,
        });
        row.settle();
    }
}

/// Tells the first pod of each place that it is, or is not, ready.
fn order(row: &mut Row<'_>, what: &str) {
    for cell in Cell::all() {
        let [pod, _] = cell.place.pods();
        let ip = row.world.pod(pod, cell.family);
        let place = std::net::SocketAddr::new(ip, CONTROL_TARGET);
        let call = Call::new(Kind::Udp, place).saying(what);
        row.expect(cell, Caller::Pod, call, Wanted::At(pod, CONTROL_TARGET));
    }
    row.settle();
}

/// The node is in zone a. One endpoint is near, or would be if it were not for its node; the other cluster's share stays.
fn distribution(world: &mut World) {
    let mut row = world.row("trafficDistribution: same node, same zone, close");
    for (distribution, is_about_zones) in [
        ("PreferSameNode", false),
        ("PreferSameZone", true),
        ("PreferClose", true),
    ] {
        row.apply(|service| {
            service.spec = [("trafficDistribution", json!(distribution))].into();
            service.endpoints = match service.place {
                Place::SameNode => vec![
                    Endpoint::ready("a1").in_zone("a"),
                    Endpoint::ready("b1").in_zone("b"),
                ],
                Place::OtherNode => vec![
                    Endpoint::ready("b1").in_zone("a"),
                    Endpoint::ready("b2").in_zone("b"),
                ],
                Place::OtherCluster => vec![
                    Endpoint::ready("a1").in_zone("a"),
                    Endpoint::ready("b1").in_zone(if is_about_zones { "b" } else { "a" }),
                    Endpoint::ready("w1"),
                ],
            };
        });
        row.expect_all(near);
        row.settle();
    }
}

fn hints(world: &mut World) {
    let mut row = world.row("hints for zones, and for nodes");
    for is_for_nodes in [false, true] {
        let hinted = |pod, zone, node| {
            let endpoint = Endpoint::ready(pod).for_zone(zone);
            if is_for_nodes {
                endpoint.for_node(node)
            } else {
                endpoint
            }
        };
        row.apply(|service| {
            service.endpoints = match service.place {
                Place::SameNode => vec![hinted("a1", "a", HERE), hinted("b1", "b", THERE)],
                // A hint may name a place where the endpoint is not.
                Place::OtherNode => vec![hinted("b1", "a", HERE), hinted("b2", "b", THERE)],
                Place::OtherCluster => vec![
                    hinted("a1", "a", HERE),
                    hinted("b1", "b", THERE),
                    Endpoint::ready("w1"),
                ],
            };
        });
        row.expect_all(near);
        row.settle();
    }
}

/// The one endpoint that is near, and beside it the other cluster's.
fn near(cell: Cell) -> Wanted {
    match cell.place {
        Place::SameNode => Wanted::Pods(vec!["a1"]),
        Place::OtherNode => Wanted::Pods(vec!["b1"]),
        Place::OtherCluster => Wanted::Pods(vec!["a1", "w1"]),
    }
}

/// Sockets leave such addresses to the network, which leads them to the other node.
fn source_ranges(world: &mut World) {
    let mut row = world.row("a load balancer's source ranges, allowed or denied, by another node");
    for cell in Cell::all() {
        let address = row.service(cell.place).balanced(cell.family);
        row.world.route(address.ip(), THERE);
    }
    let (within, without) = (
        ["10.1.0.0/16", "fd00:10:1::/48"],
        ["10.9.0.0/16", "fd00:10:9::/48"],
    );
    for (policy, ranges, is_served) in [
        ("allow", within, true),
        ("allow", without, false),
        ("deny", without, true),
        ("deny", within, false),
    ] {
        row.apply(|service| {
            service.annotations = [("isthmus.io/src-ranges-policy", policy)].into();
            service.kind = "LoadBalancer";
            service.ip_mode = Some("VIP");
            service.spec = [("loadBalancerSourceRanges", json!(ranges))].into();
        });
        for cell in Cell::all() {
            for kind in Kind::PROTOCOLS {
                let place = row.service(cell.place).balanced(cell.family);
                let wanted = if is_served {
                    Wanted::Pods(cell.place.pods().into())
                } else {
                    Wanted::Nobody
                };
                row.expect(cell, Caller::Pod, Call::new(kind, place), wanted);
            }
        }
        row.settle();
    }
}
