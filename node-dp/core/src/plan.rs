//! Plans what the kernel's maps hold, service by service, and keeps the image that results.
//!
//! The planner owns the image of what the maps should hold. Each call plans a part of the view anew and returns the ordered
//! changes to that part alone, so the cost of a change does not grow with the number of services.

mod backends;
mod clients;
mod clusters;
mod frontends;
mod groups;
mod maglev;
mod near;
mod problem;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cluster_registry::{
    claims::Claims,
    name::{ClusterName, NodeName, ServiceName},
    service::SourcePolicy,
    view::{MergedService, View},
};
use node_dp_common::{
    BackendValue, FrontendKey, IN_CLUSTERS, LOCAL_CLUSTER, MemberKey, ServiceValue,
};

use crate::{
    allocate::Allocations,
    departure::{Departed, Departures},
    diff::diff,
    health::{Checks, Told},
    image::{Image, MapOp},
};

use backends::{Candidates, Here};
use frontends::{Wanted, frontends, unsupported};
use near::Place;
pub use problem::Problem;

/// The planner.
///
/// Rule every cluster of a view with [`Self::rule`] before its services are planned: a cluster that was never ruled is down.
#[derive(Debug)]
pub struct Planner {
    /// The node, whose own backends are told from others.
    node: NodeName,
    /// Its zone, as far as the view has told.
    zone: Option<String>,
    serves_outside: bool,
    allocations: Allocations,
    image: Image,
    claims: Claims<FrontendKey>,
    /// Clusters that the view no longer names and that services may still use.
    leaving: BTreeSet<ClusterName>,
    problems: BTreeMap<ServiceName, Vec<Problem>>,
    departures: Departures,
    told: Told,
}

impl Planner {
    /// Starts from what the maps hold; what no service claims stays until [`Self::sweep`].
    pub fn adopt((cluster, node): (ClusterName, NodeName), image: Image) -> Self {
        Self {
            node,
            zone: None,
            serves_outside: false,
            allocations: Allocations::adopt(cluster, &image),
            image,
            claims: Claims::default(),
            leaving: BTreeSet::new(),
            problems: BTreeMap::new(),
            departures: Departures::default(),
            told: Told::default(),
        }
    }

    /// Whether to plan for clients from outside too.
    #[must_use]
    pub fn serving_outside(mut self, serves_outside: bool) -> Self {
        self.serves_outside = serves_outside;
        self
    }

    /// Learns from the view in which zone the node is; true if that has changed, so that all services are to be planned anew.
    pub fn follow_zone(&mut self, view: &View) -> bool {
        let key = (view.cluster.clone(), self.node.clone());
        let node = view.nodes.get(&key).and_then(|node| node.node.as_ref());
        let zone = node.and_then(|node| node.zone.clone());
        let has_changed = self.zone != zone;
        self.zone = zone;
        has_changed
    }

    /// What the maps should hold.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// What stands between services and their definitions.
    pub fn problems(&self) -> &BTreeMap<ServiceName, Vec<Problem>> {
        &self.problems
    }

    /// What load balancers are told of the node's own endpoints.
    pub fn checks(&self) -> Checks {
        self.told.checks()
    }

    /// The backends that have departed since this was last called: once the changes are made, nobody should stay connected
    /// to them.
    pub fn take_departed(&mut self) -> BTreeSet<Departed> {
        self.departures.take()
    }

    /// Plans some services anew, and returns the changes that this makes, in order.
    pub fn update<'a>(
        &mut self,
        view: &View,
        services: impl IntoIterator<Item = &'a ServiceName>,
    ) -> Vec<MapOp> {
        let mut names: BTreeSet<ServiceName> = services.into_iter().cloned().collect();
        let released = self.claim(view, &mut names);

        let mut planned = Planned::default();
        let mut held = released;
        for name in &names {
            self.problems.remove(name);
            if self.serves_outside {
                self.told.update(view, name, (&view.cluster, &self.node));
            }
            let Some(service) = view.services.get(name) else {
                continue;
            };
            self.plan_service(view, name, service, &mut planned);
        }
        held.extend(planned.image.services.keys());

        let mut old = self.piece(&held);
        for frontend in &held {
            if !planned.image.services.contains_key(frontend) {
                self.forget(frontend);
            }
        }
        self.settle_clusters(&mut old, &mut planned.image);
        let ops = diff(&old, &planned.image);
        for op in &ops {
            self.image.apply(op);
        }
        for frontend in held {
            if !planned.image.services.contains_key(&frontend) {
                self.allocations.release_service(&frontend);
            }
        }
        for (name, problem) in planned.problems {
            self.problems.entry(name).or_default().push(problem);
        }
        ops
    }

    /// Removes what no service claims: call it once everything that the view holds has been planned.
    pub fn sweep(&mut self, view: &View) -> Vec<MapOp> {
        let mut new = Image {
            services: self.image.services.clone(),
            ..Image::default()
        };
        new.services
            .retain(|frontend, _| self.claims.is_claimed(frontend));
        // These are no service's.
        new.sources.extend(self.image.sources_of(IN_CLUSTERS));
        for value in new.services.values() {
            new.maglev.extend(self.image.maglev_of(value.id()));
            new.members.extend(self.image.members_of(value.id()));
            new.sources.extend(self.image.sources_of(value.id()));
        }
        let ids = new.services.values();
        let groups = ids.flat_map(|s| s.groups().iter().map(|group| (s.id(), *group)));
        for (id, group) in groups {
            let backends = self.image.group(id, group.cluster());
            new.backends
                .extend(backends.filter(|(key, _)| key.slot() < group.count()));
        }
        let named: BTreeMap<u16, &ClusterName> = self
            .allocations
            .clusters()
            .map(|(name, index)| (index, name))
            .collect();
        for (index, value) in &self.image.clusters {
            match named.get(index) {
                Some(name) if value.name() == name.as_str() => {
                    new.clusters.insert(*index, *value);
                    if *index != LOCAL_CLUSTER && !view.clusters.contains_key(*name) {
                        self.leaving.insert((*name).clone());
                    }
                }
                Some(_) | None => {}
            }
        }
        let mut dead: Vec<FrontendKey> = self.image.services.keys().copied().collect();
        dead.retain(|frontend| !new.services.contains_key(frontend));
        for frontend in &dead {
            self.forget(frontend);
            self.allocations.release_service(frontend);
        }
        let mut ops = diff(&self.image, &new);
        self.image = new;
        ops.extend(self.update(view, []));
        ops
    }

    /// Takes what the named services ask for, gives the frontends that they no longer do, and names who else is affected.
    fn claim(&mut self, view: &View, names: &mut BTreeSet<ServiceName>) -> BTreeSet<FrontendKey> {
        let mut affected = BTreeSet::new();
        let mut gone = BTreeSet::new();
        let serves_outside = self.serves_outside;
        for name in names.iter() {
            let service = view.services.get(name);
            let age = service.map(|service| service.age());
            let wanted = service
                .into_iter()
                .flat_map(|service| frontends(service, serves_outside));
            let wanted = wanted.map(|wanted| wanted.frontend).collect();
            let age = age.unwrap_or_default();
            gone.extend(self.claims.set(name, age, wanted, &mut affected));
        }
        names.extend(affected);
        gone
    }

    fn plan_service(
        &mut self,
        view: &View,
        name: &ServiceName,
        service: &MergedService,
        planned: &mut Planned,
    ) {
        for problem in unsupported(service) {
            planned.problems.push((name.clone(), problem));
        }
        for wanted in frontends(service, self.serves_outside) {
            let frontend = wanted.frontend;
            if let Some(holder) = self.claims.holder(&frontend)
                && holder != name
            {
                let holder = holder.clone();
                let problem = Problem::HeldFrontend { frontend, holder };
                planned.problems.push((name.clone(), problem));
                continue;
            }
            let mut problems = Vec::new();
            self.plan_frontend(view, service, wanted, &mut planned.image, &mut problems);
            let named = problems.into_iter().map(|problem| (name.clone(), problem));
            planned.problems.extend(named);
        }
    }

    fn plan_frontend(
        &mut self,
        view: &View,
        service: &MergedService,
        wanted: Wanted<'_>,
        image: &mut Image,
        problems: &mut Vec<Problem>,
    ) {
        let frontend = wanted.frontend;
        let id = self.allocations.service(frontend);
        let candidates = backends::of(service, wanted, self.here(view));
        let groups = groups::ranked(service, &view.cluster, &candidates);
        let (groups, dropped) = groups::fitting(groups);
        if dropped > 0 {
            problems.push(Problem::TooManyClusters { frontend, dropped });
        }
        self.note_departures(id, wanted, service, &candidates);
        let affinity = wanted.affinity_timeout(service);
        let mut values = Vec::new();
        for group in groups {
            let cluster = group.cluster.clone();
            let Ok(index) = self.allocations.cluster(&cluster) else {
                problems.push(Problem::NoClusterIndex { cluster });
                continue;
            };
            let (slots, dropped) = slots::assign(self.image.group(id, index), group.backends);
            if dropped > 0 {
                problems.push(Problem::TooManyBackends {
                    frontend,
                    cluster,
                    dropped,
                });
            }
            let mut value = groups::value(index, &group, &slots);
            if wanted.reach.is_outside() {
                let table = maglev::of(&self.image, (id, index), &slots);
                value = value.with_maglev(table.size);
                image.maglev.extend(table.lines);
            }
            values.push(value);
            if affinity.is_some() {
                let member =
                    |backend: &BackendValue| (MemberKey::new(id, index, *backend), *backend);
                image.members.extend(slots.iter().map(member));
            }
            image.backends.extend(slots::keyed(id, index, &slots));
        }
        let Some(mut value) = ServiceValue::try_new(id, &values) else {
            return;
        };
        if wanted.reach.is_outside() {
            value = value.external();
        }
        if let Some(timeout) = affinity {
            value = value.with_affinity(timeout);
        }
        let (policy, ranges) = wanted.source_ranges(service);
        if !ranges.is_empty() {
            value = match policy {
                SourcePolicy::Allow => value.restricted(),
                SourcePolicy::Deny => value.denying(),
            };
        }
        image
            .sources
            .extend(ranges.iter().map(|range| (id, range.trunc())));
        image.services.insert(frontend, value);
    }

    /// Says of a frontend that is about to leave the image what becomes of its backends.
    fn forget(&mut self, frontend: &FrontendKey) {
        let value = self.image.services.get(frontend);
        let backends = value
            .into_iter()
            .flat_map(|value| self.image.service(value.id()));
        let backends = backends.map(|(_, backend)| backend.anywhere());
        self.departures.forget(*frontend, backends);
    }

    fn note_departures(
        &mut self,
        id: u32,
        wanted: Wanted<'_>,
        service: &MergedService,
        candidates: &BTreeMap<ClusterName, Candidates>,
    ) {
        let before = self.image.service(id).map(|(_, b)| b.anywhere());
        let after = candidates.values().flat_map(|c| &c.backends);
        let after = after.map(|backend| backend.anywhere()).collect();
        let is_kept = |backend: &BackendValue| backends::is_kept(service, wanted, backend);
        self.departures
            .note(wanted.frontend, before, &after, is_kept);
    }

    fn here<'a>(&'a self, view: &'a View) -> Here<'a> {
        Here {
            cluster: &view.cluster,
            place: Place {
                node: &self.node,
                zone: self.zone.as_deref(),
            },
        }
    }

    /// The part of the image that some frontends make up.
    fn piece(&self, frontends: &BTreeSet<FrontendKey>) -> Image {
        let mut piece = Image::default();
        for frontend in frontends {
            if let Some(value) = self.image.services.get(frontend) {
                piece.services.insert(*frontend, *value);
                piece.backends.extend(self.image.service(value.id()));
                piece.maglev.extend(self.image.maglev_of(value.id()));
                piece.members.extend(self.image.members_of(value.id()));
                piece.sources.extend(self.image.sources_of(value.id()));
            }
        }
        piece
    }
}

/// What one update plans.
#[derive(Debug, Default)]
struct Planned {
    image: Image,
    problems: Vec<(ServiceName, Problem)>,
}
