//! Writes changes to the maps in their order, and keeps a failed one from doing harm.

use std::collections::{BTreeMap, BTreeSet};

use node_dp_common::DropReason;
use node_dp_core::image::{Image, MapOp};

use super::Maps;
use crate::{
    datapath::Acceleration,
    metrics::{Metrics, label},
};

/// The maps, with what is counted about them.
pub(super) struct Writer<M> {
    maps: M,
    metrics: Metrics,
}

/// Some changes were not made.
#[derive(Debug)]
pub(super) struct Failed<E> {
    /// How many.
    pub(super) count: usize,
    /// Why the first was not.
    pub(super) first: E,
}

impl<M: Maps> Writer<M> {
    pub(super) fn new(maps: M, metrics: Metrics) -> Self {
        Self { maps, metrics }
    }

    /// Makes the changes in order.
    ///
    /// A service one of whose backends could not be written keeps its old value and its old backends: an old answer is
    /// better than a hole. The next full compare tries again.
    pub(super) fn write(&mut self, ops: &[MapOp]) -> Result<(), Failed<M::ApplyError>> {
        let mut failed: Option<Failed<M::ApplyError>> = None;
        let mut incomplete: BTreeSet<u32> = BTreeSet::new();
        let mut rest = ops;
        while let Some(op) = rest.first() {
            let made = self.write_alike(rest, &incomplete);
            if made > 0 {
                rest = &rest[made..];
                continue;
            }
            rest = &rest[1..];
            if is_of(op, &incomplete) {
                continue;
            }
            let Err(error) = self.maps.apply(op) else {
                self.count(op, 1);
                continue;
            };
            incomplete.extend(service_of(op));
            let reason = label("reason", M::label(&error));
            self.metrics.failures.get_or_create(&reason).inc();
            match &mut failed {
                Some(failed) => failed.count += 1,
                None => {
                    failed = Some(Failed {
                        count: 1,
                        first: error,
                    });
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Makes the first changes at once, as far as they are of one kind and none is of a service that is incomplete; returns how
    /// many were made.
    fn write_alike(&mut self, ops: &[MapOp], incomplete: &BTreeSet<u32>) -> usize {
        let Some(first) = ops.first() else {
            return 0;
        };
        let kind = std::mem::discriminant(first);
        let alike = ops
            .iter()
            .take_while(|op| std::mem::discriminant(*op) == kind && !is_of(op, incomplete));
        let made = self.maps.apply_alike(&ops[..alike.count()]);
        if made > 0 {
            self.count(first, made);
        }
        made
    }

    fn count(&self, op: &MapOp, made: usize) {
        let made = u64::try_from(made).unwrap_or(u64::MAX);
        let counter = self
            .metrics
            .ops
            .get_or_create_owned(&label("op", op.label()));
        counter.inc_by(made);
    }

    pub(super) fn read_image(&self) -> Result<Image, M::ReadError> {
        self.maps.read_image()
    }

    pub(super) fn activate(&mut self) -> Result<(), M::ActivateError> {
        self.maps.activate()
    }

    pub(super) fn follow_devices(&mut self) -> Result<bool, M::ActivateError> {
        self.maps.follow_devices()
    }

    pub(super) fn devices(&self) -> BTreeMap<String, bool> {
        self.maps.devices()
    }

    pub(super) fn accelerations(&self) -> BTreeMap<String, Acceleration> {
        self.maps.accelerations()
    }

    pub(super) fn forwarded(&self) -> u64 {
        self.maps.forwarded()
    }

    pub(super) fn drops(&self) -> BTreeMap<DropReason, u64> {
        self.maps.drops()
    }
}

fn is_of(op: &MapOp, services: &BTreeSet<u32>) -> bool {
    service_of(op).is_some_and(|id| services.contains(&id))
}

/// The id of the service that a change belongs to, where it has one.
fn service_of(op: &MapOp) -> Option<u32> {
    match op {
        MapOp::PutBackend(key, _) | MapOp::DeleteBackend(key) => Some(key.service_id()),
        MapOp::PutMember(key, _) | MapOp::DeleteMember(key) => Some(key.service_id()),
        MapOp::PutMaglev(key, _) | MapOp::DeleteMaglev(key) => Some(key.service_id()),
        MapOp::PutSource(id, _) | MapOp::DeleteSource(id, _) => Some(*id),
        MapOp::PutService(_, value) => Some(value.id()),
        MapOp::PutCluster(..) | MapOp::DeleteService(_) => None,
    }
}
