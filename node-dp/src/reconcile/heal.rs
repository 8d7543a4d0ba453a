//! Makes up for what changes or fails behind the plan's back: devices that come and go, maps that are not as planned.

use node_dp_core::diff::diff;

use super::{Maps, Reconcile};

impl<M: Maps> Reconcile<M> {
    pub(super) fn follow_devices(&mut self) {
        match self.writer.follow_devices() {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(devices = ?self.writer.devices(), "devices have come or gone")
            }
            Err(error) => self.note_error("a device could not be served", &error),
        }
    }

    /// Makes up for what was not as planned, or could not be done.
    pub(super) fn compare(&mut self) {
        if !self.replica.is_synced() || self.has_work() {
            return;
        }
        self.heal();
        if self.dirty.is_empty() && !self.needs_sweep {
            self.begin_serving();
        }
    }

    /// Reads the maps back and writes what is not as planned.
    fn heal(&mut self) {
        let actual = match self.writer.read_image() {
            Ok(actual) => actual,
            Err(error) => return self.note_error("the maps could not be read", &error),
        };
        let ops = diff(&actual, self.planner.image());
        if ops.is_empty() {
            return;
        }
        tracing::warn!(
            entries = ops.len(),
            first = ?ops.first(),
            "the maps were not as planned: healing them",
        );
        self.metrics
            .drift
            .inc_by(u64::try_from(ops.len()).unwrap_or(u64::MAX));
        self.write(&ops);
    }
}
