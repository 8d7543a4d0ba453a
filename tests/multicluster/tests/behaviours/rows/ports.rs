//! Node ports, dialled from inside of the cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::json;

use super::NODE_TO_CLUSTER;
use crate::{
    client::{Call, Kind, Wanted},
    matrix::{Cell, Family, Place},
    world::{Caller, HERE, THERE, World},
};

pub(crate) fn all(world: &mut World) {
    from_a_pod(world);
    from_the_node(world);
    at_loopback(world);
    hairpin(world);
    policy(world);
}

fn from_a_pod(world: &mut World) {
    let mut row = world.row("a node port at every node's address, from a pod");
    row.apply(|service| service.kind = "NodePort");
    for cell in Cell::all() {
        for node in [HERE, THERE] {
            for kind in [Kind::Tcp, Kind::Udp, Kind::Unconnected] {
                let call = Call::new(kind, row.node_port(cell, node));
                let wanted = Wanted::Pods(cell.place.pods().into());
                row.expect(cell, Caller::Pod, call, wanted);
            }
        }
    }
    row.settle();
}

/// To a backend in another cluster the other node goes for it, by an address that tunnels carry.
fn from_the_node(world: &mut World) {
    let mut row = world.row("a node port at every node's address, from the node itself");
    row.apply(|service| service.kind = "NodePort");
    for cell in Cell::all().filter(|cell| cell.place != Place::OtherCluster) {
        for node in [HERE, THERE] {
            for kind in [Kind::Tcp, Kind::Udp, Kind::Unconnected] {
                let call = Call::new(kind, row.node_port(cell, node));
                let wanted = Wanted::Pods(cell.place.pods().into());
                row.expect(cell, Caller::Node, call, wanted);
            }
        }
    }
    row.settle();
    row.not_claimed(Place::OtherCluster, NODE_TO_CLUSTER);
}

/// A pod's loopback is its own.
fn at_loopback(world: &mut World) {
    let mut row = world.row("a node port at the node's loopback address, from the node alone");
    row.apply(|service| service.kind = "NodePort");
    for cell in Cell::all().filter(|cell| cell.place != Place::OtherCluster) {
        let loopback: IpAddr = match cell.family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        let place = SocketAddr::new(loopback, row.service(cell.place).node_port());
        for kind in [Kind::Tcp, Kind::Udp, Kind::Unconnected] {
            let wanted = Wanted::Pods(cell.place.pods().into());
            row.expect(cell, Caller::Node, Call::new(kind, place), wanted);
        }
        for kind in Kind::PROTOCOLS {
            let call = Call::new(kind, place);
            row.expect(cell, Caller::Pod, call, Wanted::Refused);
        }
    }
    row.settle();
    row.not_claimed(Place::OtherCluster, NODE_TO_CLUSTER);
}

fn hairpin(world: &mut World) {
    let mut row = world.row("a pod reaches itself through a node port");
    row.apply(|service| {
        service.kind = "NodePort";
        service.endpoints.truncate(1);
    });
    for family in Family::ALL {
        let place = Place::SameNode;
        let [pod, _] = place.pods();
        let cell = Cell { place, family };
        for node in [HERE, THERE] {
            for kind in Kind::PROTOCOLS {
                let call = Call::new(kind, row.node_port(cell, node));
                row.expect(cell, Caller::Server(pod), call, Wanted::Pods(vec![pod]));
            }
        }
    }
    row.settle();
    for place in [Place::OtherNode, Place::OtherCluster] {
        row.not_claimed(place, "a pod is on its own node");
    }
}

/// At its own node's address a client finds all endpoints, as with kube-proxy; another node keeps to its own.
fn policy(world: &mut World) {
    let mut row = world.row("external policy Local, dialled from inside");
    row.apply(|service| {
        service.kind = "NodePort";
        service.spec = [("externalTrafficPolicy", json!("Local"))].into();
    });
    for cell in Cell::all() {
        for kind in Kind::PROTOCOLS {
            let here = Call::new(kind, row.node_port(cell, HERE));
            let wanted = Wanted::Pods(cell.place.pods().into());
            row.expect(cell, Caller::Pod, here, wanted);
            let there = Call::new(kind, row.node_port(cell, THERE));
            let wanted = match cell.place {
                Place::OtherNode => Wanted::Pods(cell.place.pods().into()),
                Place::SameNode | Place::OtherCluster => Wanted::Refused,
            };
            row.expect(cell, Caller::Pod, there, wanted);
        }
    }
    row.settle();
}
