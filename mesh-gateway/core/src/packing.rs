//! Compresses the updates of a snapshot, and unpacks those of a peer within limits.
//!
//! Zstandard by its reference implementation: the one that is fuzzed most, and the only one here that compresses well.

use crate::{
    limits::{MAX_PACKING_RATIO, MAX_UNPACKED_BYTES, TARGET_FRAME_BYTES},
    reason::Violation,
    wire::Packed,
};

/// Higher levels take several times as long and save little more.
const LEVEL: i32 = 3;

/// An encoded [`Updates`](crate::wire::Updates) in a packed frame; `None` if it does not fit into one, and must be said
/// plainly.
pub fn pack(updates: &[u8]) -> Option<Packed> {
    let zstd = zstd::bulk::compress(updates, LEVEL).ok()?;
    (zstd.len() <= TARGET_FRAME_BYTES).then_some(Packed { zstd })
}

/// The encoded [`Updates`](crate::wire::Updates) in a packed frame of a peer.
pub fn unpack(packed: &Packed) -> Result<Vec<u8>, Violation> {
    let most = packed.zstd.len().saturating_mul(MAX_PACKING_RATIO);
    let most = most.min(MAX_UNPACKED_BYTES);
    // It writes into what there is room for, however much the frame promises.
    zstd::bulk::decompress(&packed.zstd, most)
        .map_err(|_malformed_or_too_long| Violation::BadPacking)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use cluster_registry::{
        endpoint::{Conditions, Endpoint, EndpointPort},
        name::{ClusterName, NodeName, ServiceName},
        resource::{Key, ResourceId},
        service::Protocol,
        store::{Change, Revision},
    };
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::{
        convert::encode_change,
        wire::{Update, Updates},
    };

    #[test]
    fn updates_survive_packing() {
        let updates = Updates {
            updates: vec![gone("one"), gone("other")],
            batch: 0,
        };
        let bytes = updates.encode_to_vec();

        assert_eq!(unpack(&pack(&bytes).unwrap()), Ok(bytes));
    }

    #[test]
    fn a_bomb_is_refused_before_it_has_unpacked() {
        for length in [MAX_UNPACKED_BYTES + 1, 1 << 30] {
            let zstd = zstd::bulk::compress(&vec![0; length], LEVEL).unwrap();
            assert_eq!(unpack(&Packed { zstd }), Err(Violation::BadPacking));
        }
    }

    #[test]
    fn more_than_the_ratio_is_refused_though_it_is_not_long() {
        let zstd = zstd::bulk::compress(&vec![0; 100 * 1024], LEVEL).unwrap();
        assert!(zstd.len() * MAX_PACKING_RATIO < 100 * 1024);

        assert_eq!(unpack(&Packed { zstd }), Err(Violation::BadPacking));
    }

    /// As many pages as a store gives, of services with a few hundred pods that landed anywhere on 500 nodes.
    #[test]
    fn an_endpoint_of_a_snapshot_takes_less_than_24_bytes() {
        const SERVICES: u32 = 20;
        const ENDPOINTS: u32 = 500;
        let cluster = ClusterName::parse("west").unwrap();
        let mut updates = Vec::new();
        for service in 0..SERVICES {
            let name = ServiceName::parse("shop", &format!("service-{service}")).unwrap();
            for number in 0..ENDPOINTS {
                let mixed = (service * ENDPOINTS + number).wrapping_mul(2_654_435_761) >> 8;
                let (node, host) = (mixed % 500, (mixed / 500) % 250);
                let [_, _, high, low] = node.to_be_bytes();
                let address = IpAddr::from([10, high, low, u8::try_from(host).unwrap()]);
                let change = Change {
                    key: Key {
                        cluster: cluster.clone(),
                        id: ResourceId::Endpoint(name.clone(), address),
                    },
                    value: Some(endpoint(node).into()),
                    revision: Revision(1),
                    trace: None,
                };
                updates.push(encode_change(&change, &cluster));
            }
        }
        let pages = updates.chunks(crate::limits::FETCH_LIMIT);
        let bytes: usize = pages
            .map(|page| {
                let updates = page.to_vec();
                let updates = Updates { updates, batch: 0 };
                pack(&updates.encode_to_vec()).unwrap().zstd.len()
            })
            .sum();

        let each = bytes / updates.len();
        assert!(each < 24, "{each} bytes");
    }

    fn endpoint(node: u32) -> Endpoint {
        Endpoint {
            ports: vec![EndpointPort {
                name: None,
                protocol: Protocol::Tcp,
                port: 8080,
            }]
            .into(),
            conditions: Conditions::READY,
            node: Some(NodeName::parse(&format!("node-{node}")).unwrap()),
            zone: Some(format!("zone-{}", node % 3).into()),
            hostname: None,
            hints: None,
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(zstd in prop::collection::vec(any::<u8>(), 0..500)) {
            drop(unpack(&Packed { zstd }));
        }

        #[test]
        fn a_damaged_frame_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let updates = Updates {
                updates: (0..200).map(|n| gone(&format!("n{n}"))).collect(),
                batch: 0,
            };
            let mut packed = pack(&updates.encode_to_vec()).unwrap();
            let at = at.index(packed.zstd.len());
            packed.zstd[at] = byte;
            drop(unpack(&packed));
        }
    }

    fn gone(node: &str) -> Update {
        Update {
            id: Some(crate::wire::Id::Node(node.to_owned())),
            gone: true,
            ..Update::default()
        }
    }
}
