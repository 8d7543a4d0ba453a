//! What is gone, and which sockets and flows still lead there.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{HashMap, MapData};
use node_dp_common::{
    Address, BackendKey, BackendValue, Flow, FlowKey, FlowValue, FrontendKey, Port, ServiceValue,
    flow::Role,
};
use node_dp_core::{
    departure::Gone,
    lost::{Lost, dialled_by_packet, dialled_by_socket},
};

const TCP: u8 = libc::IPPROTO_TCP as u8;
const UDP: u8 = libc::IPPROTO_UDP as u8;

type Place = (Address, Port);

/// What is gone: backends by name, and whatever the maps have in clusters that are out.
pub(super) struct Search<'a> {
    lost: Lost,
    clusters: &'a BTreeSet<u16>,
    services: &'a HashMap<MapData, FrontendKey, ServiceValue>,
    backends: &'a HashMap<MapData, BackendKey, BackendValue>,
    /// What frontends have in those clusters, as far as it has been asked.
    known: BTreeMap<FrontendKey, BTreeSet<Place>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        gone: &'a Gone,
        services: &'a HashMap<MapData, FrontendKey, ServiceValue>,
        backends: &'a HashMap<MapData, BackendKey, BackendValue>,
    ) -> Self {
        Self {
            lost: Lost::of(&gone.backends),
            clusters: &gone.clusters,
            services,
            backends,
            known: BTreeMap::new(),
        }
    }

    /// The protocols that it may be about.
    pub(super) fn protocols(&self) -> BTreeSet<u8> {
        if self.clusters.is_empty() {
            return self.lost.protocols();
        }
        [TCP, UDP].into()
    }

    /// Whether a socket that is connected to a place may be meant, whatever it dialled.
    pub(super) fn may_have(&self, backend: Place, protocol: u8) -> bool {
        !self.clusters.is_empty() || self.lost.has(backend, protocol)
    }

    /// Whether a socket that dialled one place and is connected to another leads to what is gone.
    pub(super) fn has_dialled(&mut self, dialled: Place, backend: Place, protocol: u8) -> bool {
        let frontends = dialled_by_socket(dialled, protocol);
        self.lost.has_dialled(dialled, backend, protocol) || self.is_out(frontends, backend)
    }

    /// The flow of an entry, if the entry is its origin and the flow leads to what is gone.
    pub(super) fn flow(&mut self, key: &FlowKey, value: &FlowValue) -> Option<Flow> {
        if let Some(flow) = self.lost.flow(key, value) {
            return Some(flow);
        }
        if self.clusters.is_empty() || value.role() != Some(Role::Origin) {
            return None;
        }
        let frontends = dialled_by_packet(&key.tuple(), key.protocol());
        let routed = value.tuple();
        let backend = (routed.destination, routed.destination_port);
        // Of a cluster that is out nobody ends a connection: its client hears of it from the backend that gets the rest.
        self.is_out(frontends, backend)
            .then(|| Flow::from_origin(key, value))
    }

    fn is_out<const N: usize>(&mut self, frontends: [FrontendKey; N], backend: Place) -> bool {
        if self.clusters.is_empty() {
            return false;
        }
        frontends.into_iter().any(|frontend| {
            if !self.known.contains_key(&frontend) {
                let places = self.places_of(&frontend);
                self.known.insert(frontend, places);
            }
            self.known
                .get(&frontend)
                .is_some_and(|places| places.contains(&backend))
        })
    }

    /// The backends that a frontend has in clusters that are out.
    fn places_of(&self, frontend: &FrontendKey) -> BTreeSet<Place> {
        let Ok(service) = self.services.get(frontend, 0) else {
            return BTreeSet::new();
        };
        let groups = service.groups().iter();
        let groups = groups.filter(|group| self.clusters.contains(&group.cluster()));
        let keys = groups.flat_map(|group| {
            (0..group.count()).map(|slot| BackendKey::new(service.id(), group.cluster(), slot))
        });
        keys.filter_map(|key| Some(self.backends.get(&key, 0).ok()?.parts()))
            .collect()
    }
}
