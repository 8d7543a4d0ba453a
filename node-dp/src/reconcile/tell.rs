//! Passes on what follows from a plan besides the maps: what is gone, and what load balancers are told.

use std::sync::Arc;

use super::{Maps, Reconcile};

impl<M: Maps> Reconcile<M> {
    /// Passes on what is new; what finds no place waits for the next time.
    pub(super) fn tell(&mut self) {
        let checks = self.planner.checks();
        self.outputs.checks.send_if_modified(|told| {
            let is_new = **told != checks;
            if is_new {
                *told = Arc::new(checks);
            }
            is_new
        });
        self.gone.backends.extend(self.planner.take_departed());
        if self.gone.is_empty() {
            return;
        }
        if let Ok(permit) = self.outputs.gone.try_reserve() {
            permit.send(std::mem::take(&mut self.gone));
        }
    }
}
