//! Publishes to the API server what the gateway knows: runs the sink, and tells it how the links do.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use cluster_registry::{mcs::addresses::Allocator, name::ClusterName, view::View};
use cluster_registry_kube::{
    sink::{LinkStatuses, Settings, Sink},
    source::Problem,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    hub::{HubEnds, LinksRequest},
};

/// How late a change of a link's state may show in its object.
const LINKS_INTERVAL: Duration = Duration::from_secs(1);

/// The task; it ends with the token, once the Lease is given back.
#[derive(Debug)]
pub(crate) struct Publishing {
    cluster: ClusterName,
    replica: String,
    pools: Allocator,
    views: watch::Receiver<Option<Arc<View>>>,
    link_states: mpsc::Sender<LinksRequest>,
    problems: watch::Sender<Vec<Problem>>,
}

impl Publishing {
    /// `problems` is told what cannot be written.
    pub(crate) fn new(
        config: &Config,
        ends: &HubEnds,
        problems: watch::Sender<Vec<Problem>>,
    ) -> Self {
        Self {
            cluster: config.cluster.clone(),
            replica: config.replica.clone(),
            pools: config.clusterset_pools.clone(),
            views: ends.views.clone(),
            link_states: ends.link_states.clone(),
            problems,
        }
    }

    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let client = kube::Client::try_default().await;
        let client = client.context("finding the Kubernetes API server")?;
        let (links_tx, links) = watch::channel(None);
        let settings = Settings {
            cluster: self.cluster,
            identity: self.replica,
            lease_namespace: client.default_namespace().to_owned(),
            pools: self.pools,
            views: self.views,
            links,
            problems: self.problems,
        };
        let sink = Sink::new(client, settings).run(shutdown);
        tokio::pin!(sink);
        tokio::select! {
            () = &mut sink => return Ok(()),
            () = tell_links(self.link_states, links_tx) => {}
        }
        // The hub may end first; the sink still has its Lease to give back.
        sink.await;
        Ok(())
    }
}

/// Tells the sink how the links do whenever that has changed; ends with the hub.
async fn tell_links(
    requests: mpsc::Sender<LinksRequest>,
    links: watch::Sender<Option<LinkStatuses>>,
) {
    let mut interval = tokio::time::interval(LINKS_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let (reply, answer) = oneshot::channel();
        if requests.send(reply).await.is_err() {
            return;
        }
        let Ok(states) = answer.await else { return };
        let Some(states) = states.map(Arc::new) else {
            continue;
        };
        links.send_if_modified(|old| {
            let is_new = old.as_ref() != Some(&states);
            if is_new {
                *old = Some(states);
            }
            is_new
        });
    }
}
