//! Runs one packet through a program as it is attached to a device.

use std::{borrow::Cow, ops::Range, path::PathBuf};

use aya::programs::{SchedClassifier, TcAttachType, TestRun, TestRunOptions};
use node_dp::datapath::{Datapath, DatapathConfig, FastPath, NodeAddresses};
use node_dp_common::Hook;
use node_dp_core::image::MapOp;

use crate::fixture::{Node, Service, install, ip};

/// The addresses of the node of all benches.
pub(super) const NODE_V4: &str = "192.0.2.1";
pub(super) const NODE_V6: &str = "fd02::1";

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on, like this.
    Passed(Vec<u8>),
    /// It is dropped.
    Dropped,
    /// It is sent back, like this.
    Answered(Vec<u8>),
}

/// A device with programs, in a network namespace of its own.
pub(super) struct Bench {
    pub(super) datapath: Datapath,
    /// Where its maps are pinned.
    pub(super) maps: PathBuf,
    ingress: SchedClassifier,
    egress: SchedClassifier,
    next_port: u16,
}

impl Bench {
    /// Runs a test with the given services on a node of its own.
    pub(super) fn run(services: &[Service], body: impl FnOnce(&mut Self)) {
        Self::run_with(services, FastPath::Off, || {}, body);
    }

    /// The same with a fast path, after some more has been made of the node.
    pub(super) fn run_with(
        services: &[Service],
        fast_path: FastPath,
        prepare: impl FnOnce(),
        body: impl FnOnce(&mut Self),
    ) {
        let node = Node::new();
        node.run(|| {
            ip("link add out0 type veth peer name out1");
            prepare();
            let config = DatapathConfig {
                devices: vec!["out0".to_owned()],
                fast_path,
                ..node.config()
            };
            let (mut datapath, _) = Datapath::open(config).unwrap();
            install(&mut datapath, services);
            let addresses = [NODE_V4, NODE_V6].map(|ip| ip.parse().unwrap());
            let mut upkeep = datapath.take_upkeep().unwrap();
            let set = upkeep.set_node(&NodeAddresses {
                local: addresses.into(),
                masquerade: addresses.into(),
                tunnel: addresses.into(),
            });
            set.unwrap();
            let [maps] = node.map_directories().try_into().unwrap();
            body(&mut Self {
                datapath,
                maps,
                ingress: attached(TcAttachType::Ingress),
                egress: attached(TcAttachType::Egress),
                next_port: 40_000,
            });
        });
    }

    pub(super) fn apply(&mut self, op: MapOp) {
        self.datapath.apply(&op).unwrap();
    }

    /// Ports that this has not given out before.
    pub(super) fn unused_ports(&mut self, count: u16) -> Range<u16> {
        let first = self.next_port;
        self.next_port += count;
        first..self.next_port
    }

    /// What becomes of a packet at a hook.
    pub(super) fn pass(&self, hook: Hook, packet: &[u8]) -> Outcome {
        let program = match hook {
            Hook::Ingress => &self.ingress,
            Hook::Egress => &self.egress,
        };
        let mut out = vec![0; packet.len() + 256];
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(packet),
                data_out: Some(&mut out),
                ..TestRunOptions::default()
            })
            .unwrap();
        out.truncate(usize::try_from(result.data_size_out).unwrap());
        match result.return_value.cast_signed() {
            -1 => Outcome::Passed(out),
            2 => Outcome::Dropped,
            7 => Outcome::Answered(out),
            other => panic!("the program returned {other}"),
        }
    }
}

fn attached(direction: TcAttachType) -> SchedClassifier {
    let (_, programs) = SchedClassifier::query_tcx("out0", direction).unwrap();
    let program = programs.into_iter().next().expect("a program is attached");
    SchedClassifier::from_program_info(program, Cow::Borrowed("attached")).unwrap()
}
