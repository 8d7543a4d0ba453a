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
    shared_map::SharedMap,
    view::View,
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Client,
    runtime::{utils::Backoff as _, watcher::DefaultBackoff},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use super::{
    existing::{Existing, News},
    frontends::Frontends,
    plan::{self, Context, Objects, Write},
    refused::{Refused, Subject, about},
    settled::{Mark, Settled},
    watches,
    writer::{Versions, Writer, Written},
};
use crate::{
    api::McsVersion,
    following::{self, Told},
    source::Problem,
};

/// How many writes are under way at once: enough to hide their latency, few enough to be no burden.
const CONCURRENT_WRITES: usize = 8;

/// How often a link's counts are written when nothing else about it changes.
const COUNTS_INTERVAL: Duration = Duration::from_secs(10);

/// The links' states, as the gateway knows them.
pub type LinkStatuses = Arc<BTreeMap<ClusterName, LinkStatus>>;

/// What is published and for whom.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    pub(super) cluster: ClusterName,
    pub(super) views: watch::Receiver<Option<Arc<View>>>,
    pub(super) links: watch::Receiver<Option<LinkStatuses>>,
    pub(super) pools: Allocator,
    /// What could not be written.
    pub(super) problems: watch::Sender<Vec<Problem>>,
}

/// The task. It never ends by itself; it is cancel safe, as what is cut short is seen by whoever leads next.
pub(super) struct Publisher {
    inputs: Inputs,
    writer: Writer,
    news: BoxStream<'static, (usize, News)>,
    existing: Existing,
    settled: Settled,
    refused: Refused,
    versions: Versions,
    addresses: Allocator,
    /// Whether what imports have was adopted, so that none is given twice.
    has_adopted: bool,
    seen: Option<Arc<View>>,
    frontends: Frontends,
    /// Whether all that is there of exports and imports was known when it was last planned.
    knew_imports: bool,
    due: BTreeSet<ServiceName>,
    links_due: bool,
    failed: BTreeSet<ServiceName>,
    retry: Option<Instant>,
    backoff: DefaultBackoff,
    /// Peers of which nothing is known yet, so that what is there of them stands.
    awaited: BTreeSet<ClusterName>,
}

impl Publisher {
    pub(super) async fn new(client: Client, identity: &str, inputs: Inputs) -> Self {
        let strategy = following::initial_strategy(&client).await;
        Self {
            addresses: inputs.pools.clone(),
            writer: Writer::new(client.clone(), identity),
            news: watches::news(&client, &strategy),
            existing: Existing::default(),
            settled: Settled::default(),
            refused: Refused::new(inputs.problems.clone()),
            versions: Versions::default(),
            has_adopted: false,
            seen: None,
            frontends: Frontends::default(),
            knew_imports: false,
            due: BTreeSet::new(),
            links_due: true,
            failed: BTreeSet::new(),
            retry: None,
            backoff: DefaultBackoff::default(),
            awaited: BTreeSet::new(),
            inputs,
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
        // Each kind may be installed in other versions.
        if let Some(version) = McsVersion::ALL.get(version) {
            match &news {
                News::Export(Told::Event(_)) => self.versions.exports = *version,
                News::Import(Told::Event(_)) => self.versions.imports = *version,
                News::Export(_)
                | News::Import(_)
                | News::Slice(_)
                | News::Link(_)
                | News::Service(_) => {}
            }
        }
        self.existing.handle(news);
    }

    async fn publish(&mut self, with_counts: bool) {
        self.due.append(&mut self.existing.take_touched());
        self.links_due |= self.existing.take_links_touched();
        let mut writes = Vec::new();
        let links = self.inputs.links.borrow_and_update().clone();
        let view = self.inputs.views.borrow_and_update().clone();
        if let Some(view) = view
            && let Some(links) = &links
        {
            self.note_view_changes(&view);
            self.note_imports_known(&view);
            if self.knew_imports {
                self.note_awaited(links);
                self.adopt();
            }
            for name in std::mem::take(&mut self.due) {
                let planned = self.plan_name(&view, &name);
                writes.push(planned);
            }
        }
        if let Some(links) = links
            && std::mem::take(&mut self.links_due)
        {
            let now = Timestamp::now();
            self.settled.keep_links(self.existing.links());
            for (name, object) in self.existing.links() {
                self.refused.forget(&Subject::Link(name.clone()));
                let write = plan::link(name, object, links.get(name), with_counts, now)
                    .filter(|write| !self.settled.has_link(name, object, write));
                writes.extend(write.map(|write| vec![write]));
            }
        }
        self.carry_out(writes).await;
    }

    /// Makes due whatever differs between the last view and this one.
    fn note_view_changes(&mut self, view: &Arc<View>) {
        let old = self.seen.replace(Arc::clone(view));
        let none = SharedMap::new();
        let old = old.as_ref().map_or(&none, |old| &old.services);
        for name in view.services.differences(old, Arc::ptr_eq) {
            self.due.insert(name.clone());
            self.frontends.note(view, name, &mut self.due);
        }
    }

    /// Makes everything due once what is there of exports and imports is known.
    fn note_imports_known(&mut self, view: &View) {
        let knows = self.existing.knows_imports();
        if knows && !self.knew_imports {
            self.due.extend(view.services.keys().cloned());
            let existing = self.existing.services().map(|(name, _)| name.clone());
            self.due.extend(existing);
        }
        self.knew_imports = knows;
    }

    /// Makes due again what was left as it is because of peers that are awaited no longer.
    fn note_awaited(&mut self, links: &LinkStatuses) {
        let awaited = links.iter().filter(|(_, link)| link.awaited);
        let awaited: BTreeSet<_> = awaited.map(|(name, _)| name.clone()).collect();
        if awaited != self.awaited {
            let all = self.existing.services().map(|(name, _)| name.clone());
            self.due.extend(all);
            self.awaited = awaited;
        }
    }

    /// Whether an import says that a peer exports it of which nothing is known yet.
    fn is_awaited(&self, objects: &Objects) -> bool {
        let status = objects.import.as_ref().and_then(|i| i.status.as_ref());
        let mut clusters = status.iter().flat_map(|status| &status.clusters);
        clusters.any(|one| self.awaited.iter().any(|name| name.as_str() == one.cluster))
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

    /// What to write about all objects of one service's name.
    fn plan_name(&mut self, view: &View, name: &ServiceName) -> Vec<Write> {
        let context = context(&self.inputs, self.versions);
        self.refused.forget(&Subject::Service(name.clone()));
        let own = self.existing.own(name);
        let mut writes = self.frontends.writes(name, own, context);
        if self.knew_imports {
            writes.append(&mut self.plan_service(view, name));
        }
        self.settled.leave_out(name, &self.existing, &mut writes);
        writes
    }

    fn plan_service(&mut self, view: &View, name: &ServiceName) -> Vec<Write> {
        let none = Objects::default();
        let objects = self.existing.objects(name).unwrap_or(&none);
        if self.is_awaited(objects) {
            return Vec::new();
        }
        let service = view.services.get(name).map(AsRef::as_ref);
        let addressed = service.and_then(|service| service.addressed_import());
        let addresses = match addressed {
            Some(import) => self.addresses.assign(name, import.ip_families),
            None => {
                self.addresses.release(name);
                Ok(Vec::new())
            }
        };
        let context = context(&self.inputs, self.versions);
        plan::service(name, service, objects, &addresses, context)
    }

    /// Carries writes out, those of one thing in their order and those of different things side by side.
    async fn carry_out(&mut self, writes: Vec<Vec<Write>>) {
        let (writer, versions) = (&self.writer, self.versions);
        let mut results = stream::iter(writes)
            .map(|writes| async move {
                let (mut written, mut failures) = (Vec::new(), Vec::new());
                for write in writes {
                    let (about, mark) = (about(&write), Mark::of(&write));
                    let is_event = matches!(write, Write::Event { .. });
                    match writer.write(write, versions).await {
                        Ok(one) => written.push((mark, one)),
                        // People miss a word, but what depends on the rest does not miss it.
                        Err(error) if is_event => failures.push((about, error, false)),
                        Err(error) => {
                            failures.push((about, error, true));
                            break;
                        }
                    }
                }
                (written, failures)
            })
            .buffer_unordered(CONCURRENT_WRITES);
        let mut failures = Vec::new();
        let mut all = Vec::new();
        while let Some((mut written, mut failed)) = results.next().await {
            all.append(&mut written);
            failures.append(&mut failed);
        }
        drop(results);
        for (mark, written) in all {
            self.note(written);
            if let Some(mark) = mark {
                self.settled.note(mark, &self.existing);
            }
        }
        if self.retry.is_none() && failures.is_empty() {
            self.backoff.reset();
        }
        for ((subject, what), error, is_retried) in failures {
            tracing::warn!(%error, what, is_retried, "an object could not be written");
            self.refused.note(subject.clone(), &what, &error);
            if !is_retried {
                continue;
            }
            if let Subject::Service(name) = subject {
                self.failed.insert(name);
            }
            if self.retry.is_none() {
                self.retry = self.backoff.next().map(|pause| Instant::now() + pause);
            }
        }
        self.refused.tell();
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
            Written::Service(name, service) => {
                existing.set_service(name.namespace.as_str(), name.name.as_str(), Some(*service));
            }
            Written::Link(name, link) => existing.set_link("", name.as_str(), Some(*link)),
            Written::Nothing => {}
        }
    }
}

fn context(inputs: &Inputs, versions: Versions) -> Context<'_> {
    Context {
        own: &inputs.cluster,
        version: versions.imports,
        now: Timestamp::now(),
    }
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
