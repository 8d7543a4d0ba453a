//! Which of its own cluster's endpoints a node uses: those near to it, if all say where their clients should be.
//!
//! The rules are kube-proxy's: hints count only if every endpoint has one and one of them is for this place, or a part of
//! the endpoints would get all the load, or none would serve. Where nobody writes hints, as for a folder of manifests, a
//! service's distribution says what the EndpointSlice controller would write.

use cluster_registry::{endpoint::Endpoint, name::NodeName, traffic::TrafficDistribution};

/// Where the node is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) node: &'a NodeName,
    /// `None` where it is not known: then no zone is this one.
    pub(super) zone: Option<&'a str>,
}

/// What of its own cluster's endpoints a node uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Near<'a> {
    scope: Scope,
    place: Place<'a>,
    hinting: Hinting,
}

/// How far from the node endpoints may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Node,
    Zone,
    Cluster,
}

/// Where hints come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hinting {
    /// From the EndpointSlices.
    Given,
    /// From where the endpoints are, as the service's distribution asks for.
    Derived(TrafficDistribution),
}

impl<'a> Near<'a> {
    /// Decides by all the endpoints that might be used.
    pub(super) fn new<'e>(
        endpoints: impl Iterator<Item = &'e Endpoint> + Clone,
        distribution: Option<TrafficDistribution>,
        place: Place<'a>,
    ) -> Self {
        let has_hints = endpoints.clone().any(|endpoint| endpoint.hints.is_some());
        let hinting = match distribution {
            Some(distribution) if !has_hints => Hinting::Derived(distribution),
            Some(_) | None => Hinting::Given,
        };
        let scope = [Scope::Node, Scope::Zone].into_iter().find(|scope| {
            let mut is_any_here = false;
            let are_all_hinted = endpoints.clone().all(|endpoint| {
                let is_here = hinting.is_for(*scope, place, endpoint);
                is_any_here |= is_here == Some(true);
                is_here.is_some()
            });
            are_all_hinted && is_any_here
        });
        Self {
            scope: scope.unwrap_or(Scope::Cluster),
            place,
            hinting,
        }
    }

    /// Whether the node uses an endpoint.
    pub(super) fn has(&self, endpoint: &Endpoint) -> bool {
        self.hinting.is_for(self.scope, self.place, endpoint) == Some(true)
    }
}

impl Hinting {
    /// Whether an endpoint is meant for clients within some distance; `None` if it does not say.
    fn is_for(self, scope: Scope, place: Place<'_>, endpoint: &Endpoint) -> Option<bool> {
        let is_zone = |zone: &str| place.zone == Some(zone);
        match (scope, self) {
            (Scope::Cluster, _) => Some(true),
            (Scope::Node, Self::Given) => {
                let nodes = &endpoint.hints.as_deref()?.nodes;
                (!nodes.is_empty()).then(|| nodes.contains(place.node))
            }
            (Scope::Zone, Self::Given) => {
                let zones = &endpoint.hints.as_deref()?.zones;
                (!zones.is_empty()).then(|| zones.iter().any(|zone| is_zone(zone)))
            }
            (Scope::Node, Self::Derived(TrafficDistribution::PreferSameNode)) => {
                endpoint.node.as_ref().map(|node| node == place.node)
            }
            (Scope::Node, Self::Derived(TrafficDistribution::PreferSameZone)) => None,
            (Scope::Zone, Self::Derived(_)) => endpoint.zone.as_deref().map(is_zone),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cluster_registry::endpoint::Hints;

    use super::*;

    /// An endpoint: its node and zone, and the nodes and zones of its hints; a dash is nothing.
    type Row = (&'static str, &'static str, &'static str, &'static str);

    /// What it is about, a service's distribution, its endpoints, and which of them are used, by index.
    type Case = (
        &'static str,
        Option<TrafficDistribution>,
        Vec<Row>,
        &'static [usize],
    );

    const ZONE: Option<TrafficDistribution> = Some(TrafficDistribution::PreferSameZone);
    const NODE: Option<TrafficDistribution> = Some(TrafficDistribution::PreferSameNode);

    /// What the node n1 in zone a uses.
    #[rustfmt::skip]
    fn table() -> Vec<Case> {
        vec![
            ("without hints all are used", None,
                vec![("n1", "a", "-", "-"), ("n2", "b", "-", "-")], &[0, 1]),
            ("hints for the zone are followed", None,
                vec![("n1", "a", "-", "a"), ("n2", "b", "-", "b")], &[0]),
            ("a hint may name a zone that the endpoint is not in", None,
                vec![("n1", "a", "-", "b"), ("n2", "b", "-", "a,c")], &[1]),
            ("one endpoint without a hint makes all used", None,
                vec![("n1", "a", "-", "a"), ("n2", "b", "-", "-")], &[0, 1]),
            ("no hint for the zone makes all used", None,
                vec![("n2", "b", "-", "b"), ("n3", "c", "-", "c")], &[0, 1]),
            ("hints for the node come first", None,
                vec![("n1", "a", "n1", "a"), ("n2", "a", "n2", "a"), ("n3", "b", "n3", "b")], &[0]),
            ("no hint for the node leaves those for the zone", None,
                vec![("n2", "a", "n2", "a"), ("n3", "b", "n3", "b")], &[0]),
            ("one endpoint without a node's hint leaves those for the zone", None,
                vec![("n1", "a", "n1", "a"), ("n2", "a", "-", "a"), ("n3", "b", "n3", "b")], &[0, 1]),
            ("given hints beat the distribution", ZONE,
                vec![("n1", "a", "-", "b"), ("n2", "b", "-", "a")], &[1]),
            ("a partly hinted service is not hinted by its distribution", ZONE,
                vec![("n1", "a", "-", "-"), ("n2", "b", "-", "a")], &[0, 1]),
            ("the same zone without hints", ZONE,
                vec![("n1", "a", "-", "-"), ("n2", "a", "-", "-"), ("n3", "b", "-", "-")], &[0, 1]),
            ("the same zone with none in it", ZONE,
                vec![("n2", "b", "-", "-"), ("n3", "c", "-", "-")], &[0, 1]),
            ("the same zone where one is in an unknown one", ZONE,
                vec![("n1", "a", "-", "-"), ("n3", "-", "-", "-")], &[0, 1]),
            ("the same node without hints", NODE,
                vec![("n1", "a", "-", "-"), ("n2", "a", "-", "-")], &[0]),
            ("the same node with none on it is the same zone", NODE,
                vec![("n2", "a", "-", "-"), ("n3", "b", "-", "-")], &[0]),
            ("nothing is near where there is nothing", NODE, vec![], &[]),
        ]
    }

    #[test]
    fn a_node_uses_what_the_table_says() {
        let place = Place {
            node: &node("n1"),
            zone: Some("a"),
        };
        for (case, distribution, rows, expected) in table() {
            assert_eq!(used(&rows, distribution, place), expected, "{case}");
        }
    }

    #[test]
    fn a_node_in_no_known_zone_uses_all() {
        let place = Place {
            node: &node("n1"),
            zone: None,
        };
        let rows = [("n2", "a", "-", "a"), ("n3", "b", "-", "b")];

        assert_eq!(used(&rows, ZONE, place), [0, 1]);
    }

    fn used(
        rows: &[Row],
        distribution: Option<TrafficDistribution>,
        place: Place<'_>,
    ) -> Vec<usize> {
        let endpoints: Vec<Endpoint> = rows.iter().map(endpoint).collect();
        let near = Near::new(endpoints.iter(), distribution, place);
        let used = endpoints.iter().enumerate();
        used.filter(|(_, endpoint)| near.has(endpoint))
            .map(|(index, _)| index)
            .collect()
    }

    fn endpoint((at, zone, nodes, zones): &Row) -> Endpoint {
        let hints = Hints {
            zones: listed(nodes_or_zones(zones)),
            nodes: nodes_or_zones(nodes).map(node).collect(),
        };
        Endpoint {
            node: Some(node(at)),
            zone: nodes_or_zones(zone).next().map(Arc::from),
            hints: (hints != Hints::default()).then(|| Arc::new(hints)),
            ..Endpoint::ready([])
        }
    }

    fn nodes_or_zones<'a>(text: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        text.split(',').filter(|name| *name != "-")
    }

    fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Arc<str>> {
        names.map(Arc::from).collect()
    }

    fn node(label: &str) -> NodeName {
        NodeName::parse(label).unwrap()
    }
}
