//! What every service does: its ports lead to its endpoints, whoever asks, and nobody's address changes on the way.

use std::net::SocketAddr;

use super::NODE_TO_CLUSTER;
use crate::{
    client::{Call, Kind, Wanted},
    matrix::{Cell, Family, Place},
    service::{Endpoint, OTHER_TCP_TARGET, Port, TCP_TARGET, UDP_TARGET},
    world::{Caller, HERE, World},
};

pub(crate) fn all(world: &mut World) {
    endpoints(world);
    datagrams(world);
    several_ports(world);
    one_number(world);
    families(world);
    source_of_services(world);
    source_of_pods(world);
    node_to_pod(world);
    from_the_node(world);
    hairpin(world);
}

fn endpoints(world: &mut World) {
    let mut row = world.row("a cluster IP leads to all endpoints");
    row.apply(|_| {});
    row.expect_all(|cell| Wanted::Pods(cell.place.pods().into()));
    row.settle();
}

/// Connected sockets are in every other row.
fn datagrams(world: &mut World) {
    let mut row = world.row("datagrams of unconnected sockets are answered by the frontend");
    row.apply(|_| {});
    for cell in Cell::all() {
        let call = Call::new(Kind::Unconnected, row.frontend(cell));
        let wanted = Wanted::Pods(cell.place.pods().into());
        row.expect(cell, Caller::Pod, call, wanted);
    }
    row.settle();
}

/// Each of the endpoints serves one of the ports.
fn several_ports(world: &mut World) {
    let other = Port {
        name: "other",
        port: 81,
        target: OTHER_TCP_TARGET,
        ..Port::tcp()
    };
    let mut row = world.row("several ports, each with endpoints of its own");
    row.apply(|service| {
        service.ports = vec![Port::tcp(), other.clone()];
        let [first, second] = service.place.pods();
        service.endpoints = vec![
            Endpoint::ready(first).serving(vec![Port::tcp()]),
            Endpoint::ready(second).serving(vec![other.clone()]),
        ];
    });
    for cell in Cell::all() {
        let [first, second] = cell.place.pods();
        let frontend = row.frontend(cell);
        let other = SocketAddr::new(frontend.ip(), other.port);
        for (place, wanted) in [
            (frontend, Wanted::At(first, TCP_TARGET)),
            (other, Wanted::At(second, OTHER_TCP_TARGET)),
        ] {
            row.expect(cell, Caller::Pod, Call::new(Kind::Tcp, place), wanted);
        }
    }
    row.settle();
}

fn one_number(world: &mut World) {
    let mut row = world.row("one port for TCP and UDP, one of them switched off");
    for ports in [
        vec![Port::tcp(), Port::udp()],
        vec![Port::tcp()],
        vec![Port::udp()],
        vec![Port::tcp(), Port::udp()],
    ] {
        row.apply(|service| service.ports.clone_from(&ports));
        for cell in Cell::all() {
            for (kind, port) in [(Kind::Tcp, Port::tcp()), (Kind::Udp, Port::udp())] {
                let wanted = if ports.contains(&port) {
                    Wanted::Pods(cell.place.pods().into())
                } else {
                    Wanted::Nobody
                };
                let call = Call::new(kind, row.frontend(cell));
                row.expect(cell, Caller::Pod, call, wanted);
            }
        }
        row.settle();
    }
}

fn families(world: &mut World) {
    let mut row = world.row("both families, or one of them");
    for families in [
        vec![Family::V4, Family::V6],
        vec![Family::V4],
        vec![Family::V6],
        vec![Family::V6, Family::V4],
    ] {
        row.apply(|service| service.families.clone_from(&families));
        row.expect_all(|cell| {
            if families.contains(&cell.family) {
                Wanted::Pods(cell.place.pods().into())
            } else {
                Wanted::Nobody
            }
        });
        row.settle();
    }
}

fn source_of_services(world: &mut World) {
    let mut row = world.row("a backend sees the address of a cluster IP's client");
    row.apply(|service| service.endpoints.truncate(1));
    for cell in Cell::all() {
        let [pod, _] = cell.place.pods();
        let own = row.world.pod("client", cell.family);
        for kind in Kind::PROTOCOLS {
            let call = Call::new(kind, row.frontend(cell));
            row.expect(cell, Caller::Pod, call, Wanted::Seeing(pod, own));
        }
    }
    row.settle();
}

fn source_of_pods(world: &mut World) {
    let mut row = world.row("pod to pod, with the client's own address");
    for cell in Cell::all() {
        let own = row.world.pod("client", cell.family);
        for pod in cell.place.pods() {
            for (kind, port) in [(Kind::Tcp, TCP_TARGET), (Kind::Udp, UDP_TARGET)] {
                let place = SocketAddr::new(row.world.pod(pod, cell.family), port);
                let wanted = Wanted::Seeing(pod, own);
                row.expect(cell, Caller::Pod, Call::new(kind, place), wanted);
            }
        }
    }
    row.settle();
}

fn node_to_pod(world: &mut World) {
    let mut row = world.row("node to pod, with the node's own address");
    for cell in own_cluster() {
        let own = row.world.node(HERE, cell.family);
        for pod in cell.place.pods() {
            for (kind, port) in [(Kind::Tcp, TCP_TARGET), (Kind::Udp, UDP_TARGET)] {
                let place = SocketAddr::new(row.world.pod(pod, cell.family), port);
                let wanted = Wanted::Seeing(pod, own);
                row.expect(cell, Caller::Node, Call::new(kind, place), wanted);
            }
        }
    }
    row.settle();
    row.not_claimed(Place::OtherCluster, NODE_TO_CLUSTER);
}

fn from_the_node(world: &mut World) {
    let mut row = world.row("a cluster IP dialled from the node itself");
    row.apply(|_| {});
    for cell in own_cluster() {
        for kind in [Kind::Tcp, Kind::Udp, Kind::Unconnected] {
            let call = Call::new(kind, row.frontend(cell));
            let wanted = Wanted::Pods(cell.place.pods().into());
            row.expect(cell, Caller::Node, call, wanted);
        }
    }
    row.settle();
    row.not_claimed(Place::OtherCluster, NODE_TO_CLUSTER);
}

fn hairpin(world: &mut World) {
    let mut row = world.row("a pod reaches itself through its service");
    row.apply(|service| service.endpoints.truncate(1));
    for family in Family::ALL {
        let place = Place::SameNode;
        let [pod, _] = place.pods();
        let cell = Cell { place, family };
        for kind in [Kind::Tcp, Kind::Udp, Kind::Unconnected] {
            let call = Call::new(kind, row.frontend(cell));
            row.expect(cell, Caller::Server(pod), call, Wanted::Pods(vec![pod]));
        }
    }
    row.settle();
    for place in [Place::OtherNode, Place::OtherCluster] {
        row.not_claimed(place, "a pod is on its own node");
    }
}

/// The columns whose backend is in the client's own cluster.
fn own_cluster() -> impl Iterator<Item = Cell> {
    Cell::all().filter(|cell| cell.place != Place::OtherCluster)
}
