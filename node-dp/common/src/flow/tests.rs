//! Packets walk through a table of flows: what leaves a client comes back to it, whatever flows are beside it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::address::Port;

#[test]
fn two_frontends_with_one_backend_never_share_an_entry() {
    let mut table = Table::default();
    let first = flow(tuple(1, 5000, 100, 80), tuple(1, 5000, 200, 8080), None);
    let second = Flow {
        dialled: tuple(1, 5000, 101, 80),
        routed: tuple(1, 10_000, 200, 8080),
        ..first
    };

    assert!(table.open(&first));
    assert!(table.open(&second));

    table.check_round_trip(&first);
    table.check_round_trip(&second);
}

#[test]
fn a_source_port_that_another_flow_has_is_noticed() {
    let mut table = Table::default();
    let first = flow(tuple(1, 5000, 100, 80), tuple(1, 5000, 200, 8080), None);
    let clash = Flow {
        dialled: tuple(1, 5000, 101, 80),
        ..first
    };

    assert!(table.open(&first));
    assert!(!table.open(&clash));
}

#[test]
fn an_origin_gives_its_flow_back() {
    let flow = flow(
        tuple(1, 5000, 100, 80),
        tuple(1, 10_000, 200, 8080),
        Some(9),
    );

    let (key, value) = flow.origin(FlowState::Established, 7);

    assert_eq!(Flow::from_origin(&key, &value), flow);
    assert_eq!(value.state(), FlowState::Established);
    assert_eq!(value.last_seen(), 7);
}

proptest! {
    #[test]
    fn every_flow_comes_back_to_its_client(flows in prop::collection::vec(any_flow(), 1..60)) {
        let mut table = Table::default();
        let mut opened: Vec<Flow> = Vec::new();
        for flow in flows {
            if opened.iter().all(|other| other.dialled != flow.dialled) && table.open(&flow) {
                opened.push(flow);
            }
        }

        for flow in &opened {
            table.check_round_trip(flow);
        }
    }
}

/// `FLOWS`, filled as the programs fill it.
#[derive(Default)]
struct Table(BTreeMap<FlowKey, FlowValue>);

impl Table {
    /// Enters a flow; false if another one is in its way.
    fn open(&mut self, flow: &Flow) -> bool {
        let mut entries = vec![flow.reply(), flow.origin(FlowState::New, 0)];
        if flow.is_masqueraded() {
            entries.extend([flow.masquerading(), flow.unmasquerading()]);
        }
        let is_free = entries.iter().all(|(key, _)| !self.0.contains_key(key));
        if is_free {
            self.0.extend(entries);
        }
        is_free
    }

    fn pass(&self, tuple: Tuple, protocol: u8, hook: Hook) -> Tuple {
        let key = FlowKey::new(tuple, protocol, hook);
        self.0.get(&key).map_or(tuple, FlowValue::tuple)
    }

    /// Sends a packet there and its reply back, each through both hooks.
    fn check_round_trip(&self, flow: &Flow) {
        let there = self.pass(flow.dialled, flow.protocol, Hook::Ingress);
        assert_eq!(there, flow.routed);
        let there = self.pass(there, flow.protocol, Hook::Egress);
        if flow.is_masqueraded() {
            assert_eq!(there.source, flow.masquerade);
        }
        assert_eq!(there.destination, flow.routed.destination);
        assert_eq!(there, flow.origin(FlowState::New, 0).1.sent());

        let back = self.pass(there.reverse(), flow.protocol, Hook::Ingress);
        let back = self.pass(back, flow.protocol, Hook::Egress);
        assert_eq!(back, flow.dialled.reverse());
    }
}

/// Few hosts and ports, so that flows meet.
fn any_flow() -> impl Strategy<Value = Flow> {
    let host = || 1..5u8;
    let client = (host(), 1..4u16);
    let frontend = (100..103u8, 80..82u16);
    let backend = (200..203u8, 8080..8082u16);
    (
        client,
        frontend,
        backend,
        1..6u16,
        prop::option::of(Just(9u8)),
    )
        .prop_map(
            |((client, c), (frontend, f), (backend, b), s, masquerade)| {
                flow(
                    tuple(client, c, frontend, f),
                    tuple(client, s, backend, b),
                    masquerade,
                )
            },
        )
}

fn flow(dialled: Tuple, routed: Tuple, masquerade: Option<u8>) -> Flow {
    Flow {
        dialled,
        routed,
        masquerade: masquerade.map(host).unwrap_or_default(),
        protocol: 6,
    }
}

fn tuple(source: u8, source_port: u16, destination: u8, destination_port: u16) -> Tuple {
    Tuple {
        source: host(source),
        destination: host(destination),
        source_port: Port::from(source_port),
        destination_port: Port::from(destination_port),
    }
}

fn host(number: u8) -> Address {
    core::net::Ipv4Addr::new(10, 0, 0, number).into()
}
