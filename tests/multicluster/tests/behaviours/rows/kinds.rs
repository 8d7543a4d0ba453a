//! Services that come, go and change their type, and those that are another's business.

use multicluster::Target;
use serde_json::json;

use crate::{
    client::{Call, Kind, Wanted},
    matrix::{Cell, Place},
    service::Endpoint,
    world::{Caller, HERE, Row, SOON, World},
};

pub(crate) fn all(world: &mut World) {
    external_name(world);
    external_name_and_node_port(world);
    headless(world);
    other_proxy(world);
    up_and_down(world);
    external_ips(world);
    balanced(world);
    restart(world);
}

fn external_name(world: &mut World) {
    let mut row = world.row("ClusterIP to ExternalName, and back");
    for kind in ["ClusterIP", "ExternalName", "ClusterIP"] {
        row.apply(|service| service.kind = kind);
        row.expect_all(|cell| served_if(kind != "ExternalName", cell));
        row.settle();
    }
}

fn external_name_and_node_port(world: &mut World) {
    let mut row = world.row("ExternalName to NodePort, and back");
    for kind in ["ExternalName", "NodePort", "ExternalName"] {
        row.apply(|service| service.kind = kind);
        row.expect_all(|cell| served_if(kind == "NodePort", cell));
        for cell in Cell::all() {
            let call = Call::new(Kind::Tcp, row.node_port(cell, HERE));
            row.expect(cell, Caller::Pod, call, served_if(kind == "NodePort", cell));
        }
        row.settle();
    }
}

/// The field is `None`, or the label says so of a service that has an address.
fn headless(world: &mut World) {
    let mut row = world.row("headless by label: no proxy serves it");
    for is_headless in [false, true, false] {
        row.apply(|service| {
            let label = "service.kubernetes.io/headless";
            service.labels = is_headless.then_some((label, "")).into_iter().collect();
        });
        row.expect_all(|cell| served_if(!is_headless, cell));
        row.settle();
    }
}

fn other_proxy(world: &mut World) {
    let mut row = world.row("another proxy's by label: left to it");
    for is_others in [false, true, false] {
        row.apply(|service| {
            let label = "service.kubernetes.io/service-proxy-name";
            service.labels = is_others.then_some((label, "other")).into_iter().collect();
        });
        row.expect_all(|cell| served_if(!is_others, cell));
        row.settle();
    }
}

fn up_and_down(world: &mut World) {
    let mut row = world.row("a service goes, and comes back with another endpoint");
    row.apply(|service| service.endpoints.truncate(1));
    row.expect_all(|cell| Wanted::Pods(vec![cell.place.pods()[0]]));
    row.settle();
    row.apply(|service| service.is_there = false);
    row.expect_all(|_| Wanted::Nobody);
    row.settle();
    row.apply(|service| {
        service.is_there = true;
        service.endpoints = vec![Endpoint::ready(service.place.pods()[1])];
    });
    row.expect_all(|cell| Wanted::Pods(vec![cell.place.pods()[1]]));
    row.settle();
}

fn external_ips(world: &mut World) {
    let mut row = world.row("external IPs dialled from inside");
    row.apply(|service| {
        let ips = service.families.iter();
        let ips: Vec<_> = ips.map(|family| service.external(*family).ip()).collect();
        service.spec = [("externalIPs", json!(ips))].into();
    });
    expect_at(&mut row, |row, cell| {
        row.service(cell.place).external(cell.family)
    });
    row.settle();
}

/// Where the load balancer ends connections, nodes must not take its place.
fn balanced(world: &mut World) {
    let mut row = world.row("a load balancer's address dialled from inside, by ipMode");
    for mode in ["VIP", "Proxy", "VIP"] {
        row.apply(|service| {
            service.kind = "LoadBalancer";
            service.ip_mode = Some(mode);
        });
        if mode == "VIP" {
            expect_at(&mut row, |row, cell| {
                row.service(cell.place).balanced(cell.family)
            });
        } else {
            for cell in Cell::all() {
                let place = row.service(cell.place).balanced(cell.family);
                let call = Call::new(Kind::Tcp, place);
                row.expect(cell, Caller::Pod, call, Wanted::Nobody);
            }
        }
        row.settle();
    }
}

/// What changes while the agent is away is caught up with.
fn restart(world: &mut World) {
    let mut row = world.row("the agent is killed, and starts again");
    let agent = Target::agent("east", HERE);
    row.apply(|service| service.endpoints.truncate(1));
    row.expect_all(|cell| Wanted::Pods(vec![cell.place.pods()[0]]));
    row.settle();

    row.world.lab.kill(&agent).unwrap();
    row.apply(|service| service.endpoints = vec![Endpoint::ready(service.place.pods()[1])]);
    // Where the tunnel is the agent's, it ends with it.
    for cell in Cell::all().filter(|cell| cell.place != Place::OtherCluster) {
        let call = Call::new(Kind::Tcp, row.frontend(cell));
        let former = Wanted::Pods(vec![cell.place.pods()[0]]);
        row.expect(cell, Caller::Pod, call, former);
    }
    row.settle();

    row.world.lab.start_and_wait(&agent, SOON).unwrap();
    row.expect_all(|cell| Wanted::Pods(vec![cell.place.pods()[1]]));
    row.settle();
}

fn served_if(is_served: bool, cell: Cell) -> Wanted {
    if is_served {
        Wanted::Pods(cell.place.pods().into())
    } else {
        Wanted::Nobody
    }
}

/// Both protocols at an address lead to the pods of the place, from the pod and, in its own cluster, from the node.
fn expect_at(row: &mut Row<'_>, at: impl Fn(&Row<'_>, Cell) -> std::net::SocketAddr) {
    for cell in Cell::all() {
        for kind in Kind::PROTOCOLS {
            let call = Call::new(kind, at(row, cell));
            let wanted = Wanted::Pods(cell.place.pods().into());
            if cell.place != Place::OtherCluster {
                row.expect(cell, Caller::Node, call.clone(), wanted.clone());
            }
            row.expect(cell, Caller::Pod, call, wanted);
        }
    }
}
