//! Tests of links that change: what their peers announced follows at once.

use std::collections::BTreeMap;

use super::*;
use crate::{
    import::Namespaces,
    link::Limits,
    name::Namespace,
    registry::tests::{READY, endpoint_id, import, linked, web, web_id},
    testing::{cluster, key, link, shop},
};

#[test]
fn a_removed_peers_resources_and_its_control_state_are_gone() {
    let mut east = linked();
    import(&mut east, web_id(), Some(web(true, true))).unwrap();
    import(&mut east, endpoint_id("10.2.0.1"), Some(READY.clone())).unwrap();

    east.remove_peer(&cluster("west"));

    assert_eq!(east.feed().iter_of(&cluster("west")).count(), 0);
    assert!(east.view().services.is_empty());
    assert!(east.view().clusters.is_empty());
    let refused = import(&mut east, web_id(), Some(web(true, true)));
    assert_eq!(refused, Err(Refusal::UnknownPeer(cluster("west"))));
}

#[test]
fn a_narrower_grant_withdraws_what_it_no_longer_covers() {
    let mut east = linked();
    import(&mut east, web_id(), Some(web(true, true))).unwrap();
    import(&mut east, endpoint_id("10.2.0.1"), Some(READY.clone())).unwrap();
    import(&mut east, endpoint_id("10.3.0.1"), Some(READY.clone())).unwrap();
    let mut narrower = link("west");
    narrower.grants.cidrs = vec!["10.2.0.0/16".parse().unwrap()];

    east.change_peer(&narrower);
    assert_eq!(imported(&east), [web_id(), endpoint_id("10.2.0.1")]);

    let bank = Namespace::parse("bank").unwrap();
    narrower.grants.namespaces = Namespaces::Only([bank].into());
    east.change_peer(&narrower);
    assert_eq!(imported(&east), []);
    let summary = east.peer_summary(&cluster("west")).unwrap();
    assert_eq!((summary.services, summary.endpoints), (0, 0));
    let refused = BTreeMap::from([("range_not_granted", 1), ("namespace_not_granted", 2)]);
    assert_eq!(summary.refused, refused);
}

#[test]
fn a_lower_limit_withdraws_the_surplus_and_leaves_other_peers_alone() {
    let mut east = linked();
    east.add_peer(&link("north"));
    for name in ["a", "b", "c"] {
        let id = ResourceId::Service(shop(name));
        import(&mut east, id.clone(), Some(web(true, true))).unwrap();
        let theirs = key("north", id);
        let taken = east.handle_import(&cluster("north"), theirs, Some(web(true, true)), None);
        assert_eq!(taken, Ok(()));
    }
    let mut lower = link("west");
    lower.limits = Limits {
        services: 2,
        ..Limits::default()
    };

    east.change_peer(&lower);

    let kept = ["a", "b"].map(|name| ResourceId::Service(shop(name)));
    assert_eq!(imported(&east), kept);
    assert_eq!(east.peer_summary(&cluster("north")).unwrap().services, 3);
    let refused = import(
        &mut east,
        ResourceId::Service(shop("d")),
        Some(web(true, true)),
    );
    assert_eq!(refused.unwrap_err().label(), "too_many");
}

#[test]
fn over_the_limit_the_last_good_state_stays_and_others_do_not_notice() {
    let mut east = limited(2);
    east.add_peer(&link("north"));
    for name in ["a", "b", "c", "d"] {
        import(&mut east, service_id(name), Some(web(true, true))).ok();
    }

    assert_eq!(imported(&east), ["a", "b"].map(service_id));
    let summary = east.peer_summary(&cluster("west")).unwrap();
    assert_eq!(summary.over_limit, Some("services"));
    let changed = import(&mut east, service_id("a"), Some(web(true, false)));
    assert_eq!(changed, Ok(()));
    let north = east.peer_summary(&cluster("north")).unwrap();
    assert_eq!(north.over_limit, None);
}

#[test]
fn a_restarted_peer_at_its_limit_whose_resources_all_have_new_names_loses_none() {
    let mut east = limited(2);
    for name in ["a", "b"] {
        import(&mut east, service_id(name), Some(web(true, true))).unwrap();
    }

    east.handle_import_begin(&cluster("west"), &[KeyRange::default()]);
    for name in ["c", "d"] {
        import(&mut east, service_id(name), Some(web(true, true))).unwrap();
    }
    assert_eq!(imported(&east), ["a", "b"].map(service_id));
    east.handle_import_end(&cluster("west"));

    assert_eq!(imported(&east), ["c", "d"].map(service_id));
    assert_eq!(
        east.peer_summary(&cluster("west")).unwrap().over_limit,
        None
    );
}

#[test]
fn a_snapshot_keeps_no_more_surplus_than_the_limit() {
    let mut east = limited(2);
    east.handle_import_begin(&cluster("west"), &[KeyRange::default()]);

    let taken = ["a", "b", "c", "d", "e"]
        .map(|name| import(&mut east, service_id(name), Some(web(true, true))).is_ok());
    import(&mut east, service_id("c"), None).unwrap();
    east.handle_import_end(&cluster("west"));

    assert_eq!(taken, [true, true, true, true, false]);
    assert_eq!(imported(&east), ["a", "b"].map(service_id));
    assert_eq!(
        east.peer_summary(&cluster("west")).unwrap().over_limit,
        Some("services")
    );
}

#[test]
fn what_was_refused_for_want_of_room_is_asked_for_once_there_is_room() {
    let mut east = limited(2);
    let west = cluster("west");
    for name in ["a", "b", "c"] {
        import(&mut east, service_id(name), Some(web(true, true))).ok();
    }
    assert!(!east.take_room_again(&west));

    import(&mut east, service_id("a"), None).unwrap();

    assert!(east.take_room_again(&west));
    assert!(!east.take_room_again(&west));
}

fn limited(services: usize) -> Registry {
    let mut east = linked();
    let mut limited = link("west");
    limited.limits.services = services;
    east.change_peer(&limited);
    east
}

fn service_id(name: &str) -> ResourceId {
    ResourceId::Service(shop(name))
}

fn imported(registry: &Registry) -> Vec<ResourceId> {
    let west = cluster("west");
    let imports = registry.feed().iter_of(&west);
    imports
        .map(|(key, _)| key.id)
        .filter(|id| *id != ResourceId::Cluster)
        .collect()
}
