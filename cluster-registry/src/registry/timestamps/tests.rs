//! Tests of whose word counts for the age of an export.

use crate::{
    digest::KeyRange,
    link::LinkSpec,
    mcs::Export,
    registry::{
        Registry,
        tests::{import, registry, web_id},
    },
    resource::Resource,
    service::{Service, Timestamp},
    testing::{cluster, key, link, service, shop},
};

#[test]
fn a_peer_that_is_not_believed_cannot_win_by_antedating_its_export() {
    let mut east = linked(false);
    east.apply_local(&web_id(), Some(exported(500)), None);
    east.set_time(Timestamp(1_000));

    import(&mut east, web_id(), Some(exported(1))).unwrap();

    assert_eq!(oldest(&mut east), "east");
    assert_eq!(since(&east), Timestamp(1_000));
}

#[test]
fn a_believed_peer_wins_by_its_own_timestamp() {
    let mut east = linked(true);
    east.apply_local(&web_id(), Some(exported(500)), None);
    east.set_time(Timestamp(1_000));

    import(&mut east, web_id(), Some(exported(1))).unwrap();

    assert_eq!(oldest(&mut east), "west");
}

#[test]
fn the_time_of_first_sight_stays_until_the_export_goes() {
    let mut east = linked(false);
    east.set_time(Timestamp(1_000));
    import(&mut east, web_id(), Some(exported(1))).unwrap();

    east.set_time(Timestamp(2_000));
    import(&mut east, web_id(), Some(exported(2))).unwrap();
    assert_eq!(since(&east), Timestamp(1_000));

    let shared_only = Resource::from(service(&["10.96.0.1"], true, true));
    import(&mut east, web_id(), Some(shared_only)).unwrap();
    import(&mut east, web_id(), Some(exported(3))).unwrap();
    assert_eq!(since(&east), Timestamp(2_000));
}

#[test]
fn a_snapshot_that_says_an_export_again_does_not_make_it_younger() {
    let mut east = linked(false);
    east.set_time(Timestamp(1_000));
    import(&mut east, web_id(), Some(exported(1))).unwrap();

    east.set_time(Timestamp(2_000));
    east.handle_import_begin(&cluster("west"), &[KeyRange::default()]);
    import(&mut east, web_id(), Some(exported(1))).unwrap();
    east.handle_import_end(&cluster("west"));

    assert_eq!(since(&east), Timestamp(1_000));
}

#[test]
fn a_peer_that_is_believed_no_more_loses_its_age() {
    let mut east = linked(true);
    east.apply_local(&web_id(), Some(exported(500)), None);
    import(&mut east, web_id(), Some(exported(1))).unwrap();
    assert_eq!(oldest(&mut east), "west");

    east.set_time(Timestamp(1_000));
    east.change_peer(&believed(false));

    assert_eq!(oldest(&mut east), "east");
    assert_eq!(since(&east), Timestamp(1_000));
}

#[test]
fn before_anybody_says_the_time_an_export_that_is_not_believed_is_the_youngest() {
    let mut east = linked(false);
    east.apply_local(&web_id(), Some(exported(500)), None);

    import(&mut east, web_id(), Some(exported(1))).unwrap();

    assert_eq!(oldest(&mut east), "east");
}

fn linked(trust_timestamps: bool) -> Registry {
    let mut registry = registry();
    registry.add_peer(&believed(trust_timestamps));
    registry
}

fn believed(trust_timestamps: bool) -> LinkSpec {
    LinkSpec {
        trust_timestamps,
        ..link("west")
    }
}

fn exported(created: u64) -> Resource {
    Resource::from(Service {
        export: Some(Box::new(Export {
            created: Timestamp(created),
            ..Export::default()
        })),
        ..service(&["10.96.0.1"], false, false)
    })
}

fn oldest(registry: &mut Registry) -> String {
    let view = registry.view();
    let import = view.services[&shop("web")].import.as_ref().unwrap();
    import.oldest.cluster.to_string()
}

/// When west's export counts as made.
fn since(registry: &Registry) -> Timestamp {
    match registry.feed().get(&key("west", web_id())) {
        Some(Resource::Service(service)) => service.export.as_ref().unwrap().created,
        other => panic!("{other:?}"),
    }
}
