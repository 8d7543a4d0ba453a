//! Whose traffic went to backends that are gone: sockets by what they dialled, flows by their entries.

use std::collections::{BTreeMap, BTreeSet};

use node_dp_common::{Address, Flow, FlowKey, FlowValue, FrontendKey, Port, Tuple, flow::Role};

use crate::departure::Departed;

const UDP: u8 = 17;

/// An address and a port, as maps hold them.
type Place = (Address, Port);

/// The frontends that a socket may have come to a backend by, by what it dialled.
pub fn dialled_by_socket((address, port): Place, protocol: u8) -> [FrontendKey; 2] {
    let dialled = FrontendKey::from_parts(address, port, protocol);
    // Where the address is not one of the node's, no socket came to a backend by its node port.
    [dialled, dialled.at_own_node()]
}

/// The frontends that a packet may have come to a backend by, as its client sent it.
pub fn dialled_by_packet(tuple: &Tuple, protocol: u8) -> [FrontendKey; 3] {
    let dialled = FrontendKey::from_parts(tuple.destination, tuple.destination_port, protocol);
    let outside = dialled.from_outside();
    [dialled, outside, outside.at_any_address()]
}

/// The frontends that have lost a backend, by the backend's place and protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lost(BTreeMap<(Place, u8), BTreeSet<FrontendKey>>);

impl Lost {
    /// What is lost when some backends depart.
    pub fn of(departed: &BTreeSet<Departed>) -> Self {
        let mut lost = Self::default();
        for Departed { frontend, backend } in departed {
            let key = (backend.parts(), frontend.protocol());
            lost.0.entry(key).or_default().insert(*frontend);
        }
        lost
    }

    /// The protocols of the frontends.
    pub fn protocols(&self) -> BTreeSet<u8> {
        self.0.keys().map(|(_, protocol)| *protocol).collect()
    }

    /// Whether any frontend has lost a backend.
    pub fn has(&self, backend: Place, protocol: u8) -> bool {
        self.0.contains_key(&(backend, protocol))
    }

    /// Whether what a socket dialled has lost the backend that the socket is connected to.
    pub fn has_dialled(&self, dialled: Place, backend: Place, protocol: u8) -> bool {
        self.has_any(dialled_by_socket(dialled, protocol), backend, protocol)
    }

    /// The flow of an entry, if the entry is its origin and its datagrams went to a backend that is lost.
    ///
    /// A client of TCP may still be told by the backend's node, or by the backend itself, how its connection ends; one of UDP
    /// would go on for ever.
    pub fn flow(&self, key: &FlowKey, value: &FlowValue) -> Option<Flow> {
        if key.protocol() != UDP || value.role() != Some(Role::Origin) {
            return None;
        }
        let routed = value.tuple();
        let backend = (routed.destination, routed.destination_port);
        self.has_any(dialled_by_packet(&key.tuple(), UDP), backend, UDP)
            .then(|| Flow::from_origin(key, value))
    }

    fn has_any<const N: usize>(
        &self,
        frontends: [FrontendKey; N],
        backend: Place,
        protocol: u8,
    ) -> bool {
        let lost = self.0.get(&(backend, protocol));
        lost.is_some_and(|lost| frontends.iter().any(|frontend| lost.contains(frontend)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use node_dp_common::{BackendValue, FlowState, Tuple};

    use super::*;

    const TCP: u8 = 6;

    #[test]
    fn only_who_dialled_what_has_lost_its_backend_is_meant() {
        let lost = lost(&[(frontend(1, TCP), 9)]);

        assert!(lost.has(place(9), TCP));
        assert!(!lost.has(place(9), UDP));
        assert!(lost.has_dialled(place(1), place(9), TCP));
        assert!(!lost.has_dialled(place(2), place(9), TCP));
        assert!(!lost.has_dialled(place(1), place(8), TCP));
        assert_eq!(lost.protocols(), BTreeSet::from([TCP]));
    }

    #[test]
    fn a_node_port_was_dialled_at_any_address() {
        let lost = lost(&[(frontend(1, TCP).at_own_node(), 9)]);

        for host in [1, 2, 127] {
            assert!(lost.has_dialled(place(host), place(9), TCP));
        }
    }

    #[test]
    fn datagrams_from_outside_have_flows_to_whatever_they_dialled() {
        for dialled in [
            frontend(1, UDP),
            frontend(1, UDP).from_outside(),
            frontend(1, UDP).from_outside().at_any_address(),
        ] {
            let lost = lost(&[(dialled, 9)]);
            let flow = flow(1, 9, UDP);
            let (key, value) = flow.origin(FlowState::New, 0);

            assert_eq!(lost.flow(&key, &value), Some(flow), "{dialled}");
        }
    }

    #[test]
    fn other_flows_and_connections_stay() {
        let lost = lost(&[
            (frontend(1, UDP).from_outside(), 9),
            (frontend(1, TCP).from_outside(), 9),
        ]);
        let stay = [flow(2, 9, UDP), flow(1, 8, UDP), flow(1, 9, TCP)];

        for flow in stay {
            let (key, value) = flow.origin(FlowState::New, 0);
            assert_eq!(lost.flow(&key, &value), None);
        }
        let (key, value) = flow(1, 9, UDP).reply();
        assert_eq!(lost.flow(&key, &value), None, "it goes with its origin");
    }

    fn lost(departed: &[(FrontendKey, u8)]) -> Lost {
        let departed = departed.iter().map(|(frontend, backend)| Departed {
            frontend: *frontend,
            backend: BackendValue::new(host(*backend), 80),
        });
        Lost::of(&departed.collect())
    }

    /// A flow from host 100 through one host to another.
    fn flow(frontend: u8, backend: u8, protocol: u8) -> Flow {
        let to = |number: u8| Tuple {
            source: host(100).into(),
            destination: host(number).into(),
            source_port: 1000.into(),
            destination_port: 80.into(),
        };
        Flow {
            dialled: to(frontend),
            routed: to(backend),
            masquerade: Address::default(),
            protocol,
        }
    }

    fn frontend(number: u8, protocol: u8) -> FrontendKey {
        FrontendKey::new(host(number), 80, protocol)
    }

    fn place(number: u8) -> Place {
        (host(number).into(), 80.into())
    }

    fn host(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, number)
    }
}
