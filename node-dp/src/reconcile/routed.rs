//! Hands on what the tunnels shall carry, and leads nobody there before the routes stand.
//!
//! A map entry that came before the route to its backend would send a client's first packet out in clear.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use node_dp_core::tunnel::TunnelPlan;

use super::{Maps, Reconcile, now};

/// How long services wait for routes; the kernel takes thousands in a tenth of that.
const ROUTES_WITHIN: Duration = Duration::from_secs(2);

impl<M: Maps> Reconcile<M> {
    pub(super) fn plan_tunnels(&mut self) {
        let Some(side) = &mut self.tunnels else {
            return;
        };
        let plan = side.tunnels.plan(&self.replica.view());
        if plan == *self.plan {
            return;
        }
        for refusal in &plan.refused {
            if !self.plan.refused.contains(refusal) {
                tracing::warn!(reason = refusal.label(), "{refusal}");
            }
        }
        if asks_for_more(&plan, &self.plan) {
            self.routes_by = Some(now() + ROUTES_WITHIN);
        }
        self.plan = Arc::new(plan);
        self.outputs
            .targets
            .send_replace(Arc::new(self.plan.targets.clone()));
        self.outputs.plan.send_replace(Some(Arc::clone(&self.plan)));
    }

    /// The routes follow some plan by now.
    pub(super) fn note_routed(&mut self) {
        let routed = self.inputs.routed.borrow_and_update();
        let is_latest = routed
            .as_ref()
            .is_some_and(|plan| Arc::ptr_eq(plan, &self.plan));
        if is_latest {
            self.routes_by = None;
        }
    }

    /// A node whose routes cannot be set still serves what needs none.
    pub(super) fn give_up_routes(&mut self) {
        let waited: Option<Instant> = self.routes_by.take();
        if waited.is_some() {
            tracing::error!("routes into the tunnel are missing; services go on without");
        }
    }
}

/// Whether a plan has ranges to route that the one before had not.
fn asks_for_more(plan: &TunnelPlan, before: &TunnelPlan) -> bool {
    !plan.routes.is_subset(&before.routes)
        || !plan.inside.guarded.is_subset(&before.inside.guarded)
        || !plan.inside.sources.is_subset(&before.inside.sources)
}
