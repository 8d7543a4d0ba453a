//! The maps hold what was written to them, and say so when they cannot.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use aya::maps::MapInfo;
use node_dp::datapath::{ApplyError, Datapath, DatapathConfig, MapSizes};
use node_dp_common::{
    BackendKey, BackendValue, ClusterState, ClusterValue, FrontendKey, Group, ServiceValue,
};
use node_dp_core::image::{Image, MapOp};

use crate::fixture::{Node, TCP, address};

/// What an agent may take of the kernel's memory before it knows a single service.
const MOST_BYTES_WHEN_EMPTY: u64 = 20 * 1024 * 1024;

#[test]
#[ignore = "needs root"]
fn what_is_written_is_what_is_read() {
    let node = Node::new();
    let (mut datapath, _) = node.open();
    let mut expected = Image::default();

    for op in some_ops() {
        datapath.apply(&op).unwrap();
        expected.apply(&op);
        assert_eq!(datapath.read_image().unwrap(), expected);
    }
}

#[test]
#[ignore = "needs root"]
fn a_change_can_be_made_twice() {
    let node = Node::new();
    let (mut datapath, _) = node.open();

    for op in some_ops() {
        datapath.apply(&op).unwrap();
        datapath.apply(&op).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn a_full_map_is_named() {
    let node = Node::new();
    let config = DatapathConfig {
        sizes: MapSizes {
            backends: 2,
            ..MapSizes::default()
        },
        ..node.config()
    };
    let (mut datapath, _) = Datapath::open(config).unwrap();

    let refused = (0..3).find_map(|slot| datapath.apply(&put_backend(slot)).err());

    assert!(
        matches!(
            refused,
            Some(ApplyError::MapFull {
                map: "BACKENDS",
                capacity: 2
            })
        ),
        "{refused:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn many_changes_of_one_kind_are_made_at_once_as_far_as_there_is_room() {
    let node = Node::new();
    let config = DatapathConfig {
        sizes: MapSizes {
            backends: 100,
            ..MapSizes::default()
        },
        ..node.config()
    };
    let (mut datapath, _) = Datapath::open(config).unwrap();
    let mut expected = Image::default();
    let mut ops: Vec<MapOp> = (0..90).map(put_backend).collect();
    ops.extend(some_ops());

    assert_eq!(datapath.apply_alike(&ops), 90);
    assert_eq!(
        datapath.apply_alike(&ops[90..]),
        0,
        "a cluster is put by itself"
    );
    for op in &ops[..90] {
        expected.apply(op);
    }
    assert_eq!(datapath.read_image().unwrap(), expected);

    let more: Vec<MapOp> = (80..120).map(put_backend).collect();
    assert_eq!(
        datapath.apply_alike(&more),
        20,
        "ten are there, and ten have room"
    );
    let refused = datapath.apply(&more[20]).unwrap_err();
    assert!(matches!(refused, ApplyError::MapFull { .. }), "{refused:?}");
}

#[test]
#[ignore = "needs root"]
fn empty_maps_take_little_memory() {
    let node = Node::new();
    let (_datapath, _) = node.open();

    let taken: u64 = node.pinned_maps().iter().map(|path| memory(path)).sum();

    assert!(taken > 0);
    assert!(taken < MOST_BYTES_WHEN_EMPTY, "{taken} bytes");
}

fn some_ops() -> [MapOp; 8] {
    let frontend = address("10.96.0.1:80");
    let frontend = FrontendKey::new(frontend.ip(), frontend.port(), TCP);
    let groups = [Group::new(0, 0, 3, 2), Group::new(5, 1, 1, 0)];
    let east = ClusterValue::try_new("east", ClusterState::Up).unwrap();
    [
        MapOp::PutCluster(0, east),
        MapOp::PutCluster(255, east.draining(17)),
        put_backend(0),
        put_backend(1),
        MapOp::PutService(frontend, ServiceValue::try_new(7, &groups).unwrap()),
        MapOp::DeleteService(frontend),
        MapOp::DeleteBackend(BackendKey::new(7, 0, 1)),
        MapOp::PutCluster(255, ClusterValue::UNUSED),
    ]
}

fn put_backend(slot: u16) -> MapOp {
    let backend = address("[fd00::1]:8080");
    MapOp::PutBackend(
        BackendKey::new(7, 0, slot),
        BackendValue::new(backend.ip(), backend.port()),
    )
}

/// How many bytes the kernel has set aside for a map.
fn memory(pin: &Path) -> u64 {
    let map = MapInfo::from_pin(pin).unwrap().fd().unwrap();
    let said = format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd());
    let said = fs::read_to_string(said).unwrap();
    let bytes = said.lines().find_map(|line| line.strip_prefix("memlock:"));
    bytes.unwrap().trim().parse().unwrap()
}
