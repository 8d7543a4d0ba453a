//! The task that publishes while this replica leads: follows view, links and existing objects, and writes what differs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cluster_registry::{
    link::LinkStatus,
    mcs::addresses::Allocator,
    name::{ClusterName, ServiceName},
    view::View,
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource,
    runtime::watcher::{Config, InitialListStrategy},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use super::{
    existing::{Existing, News},
    plan::{self, Context, Write},
    slices::{MANAGED_BY, MANAGED_BY_LABEL},
    writer::{Writer, Written},
};
use crate::{
    api::{ClusterLink, McsVersion, ServiceExport, ServiceImport},
    following::{self, Following, Told},
};

/// How long one watch call lasts, in seconds; also the longest that a silently dead connection goes unnoticed.
const WATCH_SECONDS: u32 = 60;

/// How many writes are under way at once: enough to hide their latency, few enough to be no burden.
const CONCURRENT_WRITES: usize = 8;

/// How often a link's counts are written when nothing else about it changes.
const COUNTS_INTERVAL: Duration = Duration::from_secs(10);

/// How long what could not be written waits for another attempt.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The links' states, as the gateway knows them.
pub type LinkStatuses = Arc<BTreeMap<ClusterName, LinkStatus>>;

/// What is published and for whom.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    pub(super) cluster: ClusterName,
    pub(super) views: watch::Receiver<Option<Arc<View>>>,
    pub(super) links: watch::Receiver<LinkStatuses>,
    pub(super) pools: Allocator,
}

/// The task. It never ends by itself; it is cancel safe, as what is cut short is seen by whoever leads next.
pub(super) struct Publisher {
    inputs: Inputs,
    writer: Writer,
    news: BoxStream<'static, (usize, News)>,
    existing: Existing,
    version: McsVersion,
    addresses: Allocator,
    /// Whether what imports have was adopted, so that none is given twice.
    has_adopted: bool,
    seen: Option<Arc<View>>,
    due: BTreeSet<ServiceName>,
    links_due: bool,
    failed: BTreeSet<ServiceName>,
    retry: Option<Instant>,
}

impl Publisher {
    pub(super) async fn new(client: Client, identity: &str, inputs: Inputs) -> Self {
        let strategy = following::initial_strategy(&client).await;
        Self {
            addresses: inputs.pools.clone(),
            inputs,
            writer: Writer::new(client.clone(), identity),
            news: news(&client, &strategy),
            existing: Existing::default(),
            version: McsVersion::default(),
            has_adopted: false,
            seen: None,
            due: BTreeSet::new(),
            links_due: true,
            failed: BTreeSet::new(),
            retry: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut counts = tokio::time::interval(COUNTS_INTERVAL);
        counts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut with_counts = false;
        loop {
            self.publish(std::mem::take(&mut with_counts)).await;
            tokio::select! {
                Some((version, news)) = self.news.next() => self.handle(version, news),
                Ok(()) = self.inputs.views.changed() => {}
                Ok(()) = self.inputs.links.changed() => self.links_due = true,
                _ = counts.tick() => (self.links_due, with_counts) = (true, true),
                () = sleep_until(self.retry) => {
                    self.retry = None;
                    self.due.append(&mut self.failed);
                    self.links_due = true;
                }
            }
            // What came at the same time is planned for together.
            while let Some((version, news)) = ready(&mut self.news).await {
                self.handle(version, news);
            }
        }
    }

    fn handle(&mut self, version: usize, news: News) {
        let is_of_services = matches!(
            news,
            News::Export(Told::Event(_)) | News::Import(Told::Event(_))
        );
        if let Some(version) = McsVersion::ALL.get(version)
            && is_of_services
        {
            self.version = *version;
        }
        self.existing.handle(news);
    }

    async fn publish(&mut self, with_counts: bool) {
        self.due.append(&mut self.existing.take_touched());
        self.links_due |= self.existing.take_links_touched();
        let mut writes = Vec::new();
        let view = self.inputs.views.borrow_and_update().clone();
        if let Some(view) = view
            && self.existing.knows_services()
        {
            self.note_view_changes(&view);
            self.adopt();
            for name in std::mem::take(&mut self.due) {
                let planned = self.plan_service(&view, &name);
                writes.push(planned);
            }
        }
        if std::mem::take(&mut self.links_due) {
            let links = Arc::clone(&self.inputs.links.borrow_and_update());
            let now = Timestamp::now();
            for (name, object) in self.existing.links() {
                let write = plan::link(name, object, links.get(name), with_counts, now);
                writes.extend(write.map(|write| vec![write]));
            }
        }
        self.carry_out(writes).await;
    }

    /// Makes due whatever differs between the last view and this one.
    fn note_view_changes(&mut self, view: &Arc<View>) {
        let old = self.seen.replace(Arc::clone(view));
        let Some(old) = old else {
            self.due.extend(view.services.keys().cloned());
            self.due
                .extend(self.existing.services().map(|(name, _)| name.clone()));
            return;
        };
        if Arc::ptr_eq(&old, view) {
            return;
        }
        for (name, service) in view.services.iter() {
            let is_same = old
                .services
                .get(name)
                .is_some_and(|old| Arc::ptr_eq(old, service));
            if !is_same {
                self.due.insert(name.clone());
            }
        }
        let gone = old
            .services
            .keys()
            .filter(|name| !view.services.contains_key(name));
        self.due.extend(gone.cloned());
    }

    /// Takes the addresses that imports have from the pools, before any is given.
    fn adopt(&mut self) {
        if std::mem::replace(&mut self.has_adopted, true) {
            return;
        }
        for (name, objects) in self.existing.services() {
            if let Some(import) = &objects.import {
                let ips: Vec<_> = import
                    .spec
                    .ips
                    .iter()
                    .filter_map(|ip| ip.parse().ok())
                    .collect();
                self.addresses.adopt(name, &ips);
            }
        }
    }

    fn plan_service(&mut self, view: &View, name: &ServiceName) -> Vec<Write> {
        let service = view.services.get(name).map(AsRef::as_ref);
        let addressed = service.and_then(|service| service.addressed_import());
        let addresses = match addressed {
            Some(import) => self.addresses.assign(name, import.ip_families),
            None => {
                self.addresses.release(name);
                Ok(Vec::new())
            }
        };
        let context = Context {
            own: &self.inputs.cluster,
            version: self.version,
            now: Timestamp::now(),
        };
        let objects = self.existing.objects(name);
        plan::service(name, service, &objects, &addresses, context)
    }

    /// Carries writes out, those of one thing in their order and those of different things side by side.
    async fn carry_out(&mut self, writes: Vec<Vec<Write>>) {
        let (writer, version) = (&self.writer, self.version);
        let mut results = stream::iter(writes)
            .map(|writes| async move {
                let mut written = Vec::new();
                for write in writes {
                    let about = about(&write);
                    match writer.write(write, version).await {
                        Ok(one) => written.push(one),
                        Err(error) => return (written, Some((about, error))),
                    }
                }
                (written, None)
            })
            .buffer_unordered(CONCURRENT_WRITES);
        let mut failures = Vec::new();
        let mut all = Vec::new();
        while let Some((written, failure)) = results.next().await {
            all.extend(written);
            failures.extend(failure);
        }
        drop(results);
        for written in all {
            self.note(written);
        }
        for ((service, what), error) in failures {
            tracing::warn!(%error, what, "an object could not be written; it is tried again");
            self.failed.extend(service);
            self.retry
                .get_or_insert_with(|| Instant::now() + RETRY_INTERVAL);
        }
    }

    /// Takes what was written at once, so that it is not written again before the watch tells of it.
    fn note(&mut self, written: Written) {
        let existing = &mut self.existing;
        match written {
            Written::Import(name, import) => {
                existing.set_import(
                    name.namespace.as_str(),
                    name.name.as_str(),
                    import.map(|i| *i),
                );
            }
            Written::Export(name, export) => {
                existing.set_export(name.namespace.as_str(), name.name.as_str(), Some(*export));
            }
            Written::Slice(name, slice, object) => {
                existing.set_slice(name.namespace.as_str(), &slice, object.map(|o| *o));
            }
            Written::Link(name, link) => existing.set_link("", name.as_str(), Some(*link)),
            Written::Nothing => {}
        }
    }
}

/// Which service a write is about, if one, and what it is for people.
fn about(write: &Write) -> (Option<ServiceName>, String) {
    match write {
        Write::Import(name, _) | Write::ImportStatus(name, _) | Write::DeleteImport(name, _) => {
            (Some(name.clone()), format!("ServiceImport {name}"))
        }
        Write::Slice(name, _) => (Some(name.clone()), format!("EndpointSlice of {name}")),
        Write::DeleteSlice(name, slice) => (
            Some(name.clone()),
            format!("EndpointSlice {slice} of {name}"),
        ),
        Write::ExportStatus(name, _) => (Some(name.clone()), format!("ServiceExport {name}")),
        Write::Event { export, .. } => (Some(export.clone()), format!("Event on {export}")),
        Write::LinkStatus(name, _) => (None, format!("ClusterLink {name}")),
    }
}

fn news(client: &Client, strategy: &InitialListStrategy) -> BoxStream<'static, (usize, News)> {
    let config = Config {
        initial_list_strategy: strategy.clone(),
        ..Config::default().timeout(WATCH_SECONDS)
    };
    let ours = config
        .clone()
        .labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let exports = McsVersion::ALL.map(|v| Api::<ServiceExport>::all_with(client.clone(), &v));
    let imports = McsVersion::ALL.map(|v| Api::<ServiceImport>::all_with(client.clone(), &v));
    let links = Api::<ClusterLink>::all(client.clone());
    let slices = Api::all(client.clone());
    stream::select_all([
        told(
            Following::new("serviceexports", exports.into(), config.clone()),
            News::Export,
        ),
        told(
            Following::new("serviceimports", imports.into(), config.clone()),
            News::Import,
        ),
        told(
            Following::new("endpointslices", vec![slices], ours),
            News::Slice,
        ),
        told(
            Following::new("clusterlinks", vec![links], config),
            News::Link,
        ),
    ])
    .boxed()
}

fn told<K>(following: Following<K>, news: fn(Told<K>) -> News) -> BoxStream<'static, (usize, News)>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let told = stream::unfold((following, news), |(mut following, news)| async move {
        let told = news(following.next().await);
        Some(((following.version(), told), (following, news)))
    });
    told.boxed()
}

/// What a stream has ready, without waiting.
async fn ready<T>(stream: &mut BoxStream<'static, T>) -> Option<T> {
    tokio::select! {
        biased;
        next = stream.next() => next,
        () = std::future::ready(()) => None,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
