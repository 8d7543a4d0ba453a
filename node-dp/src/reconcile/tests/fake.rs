//! Maps in memory that keep the order of their changes, and refuse those that they are told to refuse.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use node_dp_common::DropReason;
use node_dp_core::image::{Image, MapOp};

use super::super::Maps;
use crate::datapath::Acceleration;

/// The maps; clones share them, as the kernel's outlive an agent.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeMaps(Arc<Mutex<State>>);

/// How many changes are made at once, at most.
const MOST_AT_ONCE: usize = 3;

/// What was done to the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Op(MapOp),
    Activated,
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    done: Vec<Done>,
    refused: Option<fn(&MapOp) -> bool>,
    refuses_activation: bool,
}

/// The maps were told to refuse.
#[derive(Debug, thiserror::Error)]
#[error("told to refuse")]
pub(super) struct Refused;

impl FakeMaps {
    pub(super) fn image(&self) -> Image {
        self.with(|state| state.image.clone())
    }

    /// Changes what they hold behind everybody's back.
    pub(super) fn tamper(&self, op: &MapOp) {
        self.with(|state| state.image.apply(op));
    }

    /// What a former agent has left.
    pub(super) fn hold(&self, image: Image) {
        self.with(|state| state.image = image);
    }

    /// Refuses these changes until [`Self::heal`].
    pub(super) fn refuse(&self, refused: fn(&MapOp) -> bool) {
        self.with(|state| state.refused = Some(refused));
    }

    pub(super) fn refuse_activation(&self) {
        self.with(|state| state.refuses_activation = true);
    }

    pub(super) fn heal(&self) {
        self.with(|state| {
            state.refused = None;
            state.refuses_activation = false;
        });
    }

    /// What has been done since this was last called.
    pub(super) fn take_done(&self) -> Vec<Done> {
        self.with(|state| std::mem::take(&mut state.done))
    }

    /// The changes among [`Self::take_done`].
    pub(super) fn take_ops(&self) -> Vec<MapOp> {
        let done = self.take_done().into_iter();
        done.filter_map(|done| match done {
            Done::Op(op) => Some(op),
            Done::Activated => None,
        })
        .collect()
    }

    /// How many changes and activations [`Self::take_done`] would give.
    pub(super) fn done_count(&self) -> usize {
        self.with(|state| state.done.len())
    }

    fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        body(&mut self.0.lock().unwrap())
    }
}

impl Maps for FakeMaps {
    type ReadError = Refused;
    type ApplyError = Refused;
    type ActivateError = Refused;

    fn read_image(&self) -> Result<Image, Refused> {
        Ok(self.image())
    }

    fn apply(&mut self, op: &MapOp) -> Result<(), Refused> {
        self.with(|state| {
            if state.refused.is_some_and(|refused| refused(op)) {
                return Err(Refused);
            }
            state.image.apply(op);
            state.done.push(Done::Op(*op));
            Ok(())
        })
    }

    /// Some of them, as the kernel's maps do it: up to the first that is refused.
    fn apply_alike(&mut self, ops: &[MapOp]) -> usize {
        let ops = ops.iter().take(MOST_AT_ONCE);
        ops.take_while(|op| self.apply(op).is_ok()).count()
    }

    fn activate(&mut self) -> Result<(), Refused> {
        self.with(|state| {
            if state.refuses_activation {
                return Err(Refused);
            }
            state.done.push(Done::Activated);
            Ok(())
        })
    }

    fn follow_devices(&mut self) -> Result<bool, Refused> {
        Ok(false)
    }

    fn devices(&self) -> BTreeMap<String, bool> {
        BTreeMap::new()
    }

    fn accelerations(&self) -> BTreeMap<String, Acceleration> {
        BTreeMap::new()
    }

    fn forwarded(&self) -> u64 {
        0
    }

    fn drops(&self) -> BTreeMap<DropReason, u64> {
        BTreeMap::new()
    }

    fn label(_: &Refused) -> &'static str {
        "told"
    }
}
