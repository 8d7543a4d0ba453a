//! Tests of the parts of what clusters offer: whose count, and that changing one leaves the offers alone.

use super::*;
use crate::testing::{cluster, endpoint, ip, service};

#[test]
fn ones_own_endpoints_count_and_those_of_shared_definitions_where_they_merge() {
    let offers = offers();
    let own = cluster("east");

    let merged = EndpointsByCluster::behind_own(&own, true, &offers);
    let alone = EndpointsByCluster::behind_own(&own, false, &offers);
    let other = EndpointsByCluster::behind_own(&cluster("north"), false, &offers);

    assert_eq!(names(merged.keys()), ["east", "west"]);
    assert_eq!(names(alone.keys()), ["east"]);
    assert!(alone.get(&cluster("west")).is_none() && !alone.contains_key(&cluster("west")));
    // It has a definition, and nothing that serves.
    assert!(other.is_empty() && other.get(&cluster("north")).is_none());
}

#[test]
fn endpoints_without_a_definition_are_nobodys() {
    let mut offers = offers();
    offers.update(&cluster("east"), |offer| offer.definition = None);
    let own = cluster("east");

    assert!(EndpointsByCluster::behind_own(&own, false, &offers).is_empty());
    assert_eq!(EndpointsByCluster::behind_own(&own, true, &offers).len(), 1);
}

#[test]
fn definitions_are_those_that_others_share() {
    let definitions = DefinitionsByCluster::shared_with(&cluster("east"), &offers());

    assert_eq!(names(definitions.keys()), ["west"]);
    assert!(definitions.get(&cluster("east")).is_none());
    assert!(!definitions.contains_key(&cluster("south")));
}

#[test]
fn a_part_that_is_changed_holds_what_it_showed_and_the_change() {
    let offers = offers();
    let before = offers.clone();
    let mut endpoints = EndpointsByCluster::behind_own(&cluster("east"), true, &offers);
    let mut definitions = DefinitionsByCluster::shared_with(&cluster("east"), &offers);

    endpoints
        .get_mut(&cluster("west"))
        .unwrap()
        .insert(ip("10.2.0.2"), Arc::new(endpoint(true)));
    endpoints.insert(cluster("south"), Endpoints::new());
    definitions.insert(cluster("north"), Arc::new(service(&[], true, true)));

    assert_eq!(names(endpoints.keys()), ["east", "south", "west"]);
    assert_eq!(endpoints[&cluster("west")].len(), 2);
    assert!(endpoints.get_mut(&cluster("north")).is_none());
    assert_eq!(names(definitions.keys()), ["north", "west"]);
    assert_eq!(offers, before);
}

/// East and west serve, and only west shares; north has a definition alone; south's is neither shared nor served.
fn offers() -> OffersByCluster {
    let offer = |shared, addresses: &[&str]| Offer {
        definition: Some(Arc::new(service(&[], true, shared))),
        endpoints: addresses
            .iter()
            .map(|address| (ip(address), Arc::new(endpoint(true))))
            .collect(),
    };
    [
        ("east", offer(false, &["10.1.0.1"])),
        ("north", offer(false, &[])),
        ("south", offer(false, &["10.4.0.1"])),
        ("west", offer(true, &["10.2.0.1"])),
    ]
    .into_iter()
    .map(|(name, offer)| (cluster(name), offer))
    .collect()
}

fn names<'a>(clusters: impl Iterator<Item = &'a ClusterName>) -> Vec<&'a str> {
    clusters.map(ClusterName::as_str).collect()
}
