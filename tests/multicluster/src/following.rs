//! Follows the services of a cluster's API server with a watch, for the controller that derives their slices.

use std::{
    collections::BTreeMap,
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, runtime::watcher};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::{apiserver, netns, plan::Plan};

/// How long after the end of a watch another one begins.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The services as last heard; the watch ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Following {
    /// A leaf: the watch replaces, the controller copies; `None` until the first list.
    services: Arc<Mutex<Option<Vec<Value>>>>,
    /// Its end tells the watch.
    _end: oneshot::Sender<()>,
}

impl Following {
    pub(crate) fn start(plan: &Plan, cluster: &str) -> Result<Self> {
        let services = Arc::<Mutex<Option<Vec<Value>>>>::default();
        let (end, mut ended) = oneshot::channel();
        let heard = Arc::clone(&services);
        let netns = plan.gateway_node(cluster)?.netns.clone();
        let kubeconfig = plan.kubeconfig(cluster);
        thread::spawn(move || {
            netns::enter(&netns)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("starting a runtime")?;
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _dropped = &mut ended => return anyhow::Ok(()),
                        // What ends it, such as a server that is away, is tried again.
                        _failed = follow(&kubeconfig, &heard) => {}
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            })
        });
        Ok(Self {
            services,
            _end: end,
        })
    }

    /// The services, once they are known.
    pub(crate) fn services(&self) -> Option<Vec<Value>> {
        let services = self.services.lock();
        services.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn follow(kubeconfig: &Path, heard: &Mutex<Option<Vec<Value>>>) -> Result<()> {
    let client = apiserver::connect(kubeconfig).await?;
    let mut events = pin!(watcher(Api::all(client), watcher::Config::default()));
    let mut known = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event.context("watching services")? {
            // A list begins; what was heard stands until it is complete.
            watcher::Event::Init => {
                known.clear();
                continue;
            }
            watcher::Event::InitApply(service) => {
                known.insert(key(&service), serde_json::to_value(service)?);
                continue;
            }
            watcher::Event::InitDone => {}
            watcher::Event::Apply(service) => {
                known.insert(key(&service), serde_json::to_value(service)?);
            }
            watcher::Event::Delete(service) => {
                known.remove(&key(&service));
            }
        }
        let services = known.values().cloned().collect();
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(services);
    }
    Ok(())
}

fn key(service: &Service) -> (Option<String>, Option<String>) {
    let metadata = &service.metadata;
    (metadata.namespace.clone(), metadata.name.clone())
}
