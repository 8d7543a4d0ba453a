//! What reconciling needs of the kernel's maps, so that it can be tried without a kernel.

use std::{collections::BTreeMap, error::Error};

use node_dp_common::DropReason;
use node_dp_core::image::{Image, MapOp};

use crate::datapath::{Acceleration, ApplyError, Datapath, OpenError, ReadError};

/// The kernel's maps, or something like them.
pub(crate) trait Maps {
    /// Why they could not be read.
    type ReadError: Error + Send + Sync + 'static;
    /// Why a change was not made.
    type ApplyError: Error + Send + Sync + 'static;
    /// Why they could not be put to use.
    type ActivateError: Error + Send + Sync + 'static;

    /// What they hold.
    fn read_image(&self) -> Result<Image, Self::ReadError>;

    /// Makes one change.
    fn apply(&mut self, op: &MapOp) -> Result<(), Self::ApplyError>;

    /// Makes the first of some changes at once, as far as that can be; returns how many were made, which may be none.
    fn apply_alike(&mut self, ops: &[MapOp]) -> usize;

    /// Puts them to use, if that has waited until they are filled.
    fn activate(&mut self) -> Result<(), Self::ActivateError>;

    /// Puts them to use at devices that have come since; true if any has come or gone.
    fn follow_devices(&mut self) -> Result<bool, Self::ActivateError>;

    /// The devices that they are for, and whether each is there and served.
    fn devices(&self) -> BTreeMap<String, bool>;

    /// What came of the fast path at each of them.
    fn accelerations(&self) -> BTreeMap<String, Acceleration>;

    /// How many packets it has forwarded; nothing where that cannot be read.
    fn forwarded(&self) -> u64;

    /// What was counted by reason; nothing where it cannot be read.
    fn drops(&self) -> BTreeMap<DropReason, u64>;

    /// The name of an error in metrics.
    fn label(error: &Self::ApplyError) -> &'static str;
}

impl Maps for Datapath {
    type ReadError = ReadError;
    type ApplyError = ApplyError;
    type ActivateError = OpenError;

    fn read_image(&self) -> Result<Image, ReadError> {
        Self::read_image(self)
    }

    fn apply(&mut self, op: &MapOp) -> Result<(), ApplyError> {
        Self::apply(self, op)
    }

    fn apply_alike(&mut self, ops: &[MapOp]) -> usize {
        Self::apply_alike(self, ops)
    }

    fn activate(&mut self) -> Result<(), OpenError> {
        Self::activate(self)
    }

    fn follow_devices(&mut self) -> Result<bool, OpenError> {
        Self::follow_devices(self)
    }

    fn devices(&self) -> BTreeMap<String, bool> {
        Self::devices(self)
    }

    fn accelerations(&self) -> BTreeMap<String, Acceleration> {
        Self::accelerations(self)
    }

    fn forwarded(&self) -> u64 {
        Self::forwarded(self).unwrap_or_default()
    }

    fn drops(&self) -> BTreeMap<DropReason, u64> {
        Self::drops(self).unwrap_or_default()
    }

    fn label(error: &ApplyError) -> &'static str {
        error.label()
    }
}
