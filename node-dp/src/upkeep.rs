//! Keeps the maps that nobody plans up: sweeps silent flows, and follows the node's addresses.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::datapath::{Datapath, NodeAddresses, SweepError, Upkeep};

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);

/// In how many ticks a full table of flows is swept: a minute.
const TICKS: usize = 60;

/// The task; ends on shutdown. It is cancel safe: what it left undone it does on the next tick.
pub(crate) struct UpkeepTask {
    pub(crate) upkeep: Upkeep,
    /// The device whose addresses stand for clients, if any is served.
    pub(crate) device: Option<String>,
    /// The addresses that do so towards other clusters.
    pub(crate) tunnel_addresses: BTreeSet<IpAddr>,
    pub(crate) shutdown: CancellationToken,
}

impl UpkeepTask {
    /// Keeps the maps up.
    pub(crate) async fn run(mut self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = None;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                _ = ticks.tick() => {
                    self.follow_addresses(&mut known);
                    match self.sweep() {
                        Ok(0) => {}
                        Ok(flows) => tracing::debug!(flows, "removed silent flows"),
                        Err(error) => tracing::warn!(%error, "the flows could not be swept"),
                    }
                }
            }
        }
    }

    fn follow_addresses(&mut self, known: &mut Option<NodeAddresses>) {
        let device = self.device.as_deref();
        let read = match NodeAddresses::read(device, &self.tunnel_addresses) {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "the node's addresses could not be read");
                return;
            }
        };
        if known.as_ref() == Some(&read) {
            return;
        }
        match self.upkeep.set_node(&read) {
            Ok(()) => {
                tracing::info!(
                    local = ?read.local,
                    masquerade = ?read.masquerade,
                    tunnel = ?read.tunnel,
                    "the node's addresses are known",
                );
                *known = Some(read);
            }
            Err(error) => tracing::warn!(%error, "the node's addresses could not be set"),
        }
    }

    fn sweep(&mut self) -> Result<usize, SweepError> {
        let now = Datapath::seconds_since_boot();
        let mut flows = 0;
        for _ in 0..self.upkeep.batches().div_ceil(TICKS) {
            flows += self.upkeep.sweep(now)?;
            if self.upkeep.is_through() {
                break;
            }
        }
        Ok(flows)
    }
}
