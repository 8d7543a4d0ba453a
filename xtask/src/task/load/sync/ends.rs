//! The two ends: a registry that is published, and one that takes it, as gateways do it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use certs::identity::SpiffeId;
use cluster_registry::{
    link::LinkSpec,
    name::ClusterName,
    registry::Registry,
    resource::{Key, Resource, ResourceId},
    store::{Cursor, Epoch, Revision, Store},
};
use mesh_gateway_core::{convert::encode_for_digest, question::Reader};
use mesh_link::{
    dial::Dialer,
    event::{GoodbyeReason, PeerEvent, Report, SessionHandle},
    feed::{Feed, FeedServer},
    listen::{Denied, Grant, Listener, Subscribes},
    resume::Resume,
    settings::DEFAULT_MAX_BACKOFF,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Size,
    stamps::Stamp,
    world::{Pod, World, east, gateway, registry, west},
};

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The ports that changed endpoints have, none of which they have at first.
const FIRST_PORT: u32 = 10_000;
const PORTS: u32 = 50_000;

/// What the registry's owner is told, and answers with where its exports stand.
type Order = (Vec<(ResourceId, Resource)>, oneshot::Sender<Cursor>);

/// The publishing end.
#[derive(Clone)]
pub(super) struct Publisher {
    pub(super) address: SocketAddr,
    pub(super) cluster: ClusterName,
    number: u32,
    size: Size,
    current: Arc<Mutex<(Feed, mpsc::Sender<Order>)>>,
}

impl Publisher {
    pub(super) fn start(world: &World, number: u32, size: Size) -> anyhow::Result<Self> {
        let current = Arc::new(Mutex::new(serve(number, Epoch(1), size)?));
        let (events, mut reports) = mpsc::channel(64);
        tokio::spawn(async move { while reports.recv().await.is_some() {} });
        let grants = Arc::clone(&current);
        let authorise = move |_: &SpiffeId, _| {
            let (feed, _) = &*grants.lock().unwrap_or_else(PoisonError::into_inner);
            Ok::<Grant, Denied>(Grant {
                feed: feed.clone(),
                resume: Resume::default(),
                subscribes: Subscribes::Now,
                compares: false,
                events: events.clone(),
            })
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let cluster = west(number)?;
        let listener = Listener::bind(any, world.settings(&cluster)?, authorise)?;
        let address = listener.local_address().context("finding the address")?;
        tokio::spawn(listener.run(CancellationToken::new()));
        Ok(Self {
            address,
            cluster,
            number,
            size,
            current,
        })
    }

    /// Where a subscriber stands that knows everything.
    pub(super) fn newest(&self) -> Cursor {
        let (feed, _) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *feed.newest.borrow()
    }

    /// The same state, after so many changes, in a new life of the registry.
    pub(super) async fn restart(&self, epoch: Epoch, changes: u32) -> anyhow::Result<Cursor> {
        let (number, size) = (self.number, self.size);
        let next = tokio::task::spawn_blocking(move || serve(number, epoch, size)).await??;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.change(0..changes).await
    }

    /// Makes some changes at once, by their numbers: each is of the next endpoint, and new to it in each round of all.
    pub(super) async fn change(
        &self,
        numbers: impl IntoIterator<Item = u32>,
    ) -> anyhow::Result<Cursor> {
        let backends = self.size.backends;
        let all = self.size.services * backends;
        let changes = numbers.into_iter().map(|number| {
            let (at, round) = (number % all, number / all);
            let port = u16::try_from(FIRST_PORT + round % PORTS)?;
            let pod = Pod::new(self.number, at / backends, at % backends, self.size);
            Ok((pod.id()?, pod.endpoint(Some(port))?))
        });
        let changes = changes.collect::<anyhow::Result<_>>()?;
        let orders = {
            let (_, orders) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner);
            orders.clone()
        };
        let (reply, answer) = oneshot::channel();
        orders
            .send((changes, reply))
            .await
            .context("the registry is gone")?;
        answer.await.context("the registry is gone")
    }
}

/// The taking end.
pub(super) struct Subscriber {
    registry: Registry,
    events: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    handle: Option<SessionHandle>,
}

impl Subscriber {
    pub(super) fn new() -> anyhow::Result<Self> {
        let (events, reports) = mpsc::channel(64);
        let mut registry = Registry::new(east()?, Epoch(1), Epoch(1));
        registry.digest_with(encode_for_digest);
        Ok(Self {
            registry,
            events,
            reports,
            handle: None,
        })
    }

    /// Links it with a publisher that is dialled at an address.
    pub(super) fn dial(
        &mut self,
        world: &World,
        publisher: &Publisher,
        address: SocketAddr,
    ) -> anyhow::Result<()> {
        self.link(&publisher.cluster);
        let mut dialer = dialer(world, &publisher.cluster, address, self.events.clone())?;
        dialer.compares = true;
        tokio::spawn(dialer.run(CancellationToken::new()));
        Ok(())
    }

    /// Lets a cluster announce as much as it has.
    pub(super) fn link(&mut self, cluster: &ClusterName) {
        let mut link = LinkSpec::new(cluster.clone());
        link.limits.endpoints = usize::MAX;
        link.limits.services = usize::MAX;
        self.registry.add_peer(&link);
    }

    /// Takes what a cluster announces, without a session.
    pub(super) fn hear(&mut self, cluster: &ClusterName, id: ResourceId, value: Resource) {
        let key = Key {
            cluster: cluster.clone(),
            id,
        };
        // All is granted.
        drop(self.registry.handle_import(cluster, key, Some(value), None));
    }

    /// Ends the session, which is dialled anew.
    pub(super) fn close(&self) {
        if let Some(handle) = &self.handle {
            handle.close(GoodbyeReason::ShuttingDown);
        }
    }

    /// Takes what is said until everything up to a position of one peer is in the view.
    pub(super) async fn until(&mut self, wanted: Cursor) -> anyhow::Result<()> {
        let waited = timeout(PATIENCE, async {
            while self.progress().await?.1 != wanted {}
            anyhow::Ok(())
        });
        waited.await.context("waiting for a position")?
    }

    /// Takes what is said until everything up to the positions of some peers is in the view.
    pub(super) async fn until_all(&mut self, publishers: &[Publisher]) -> anyhow::Result<()> {
        let mut missing: BTreeMap<ClusterName, Cursor> = publishers
            .iter()
            .map(|publisher| (publisher.cluster.clone(), publisher.newest()))
            .collect();
        let waited = timeout(PATIENCE, async {
            while !missing.is_empty() {
                let (cluster, cursor) = self.progress().await?;
                missing.retain(|name, wanted| *name != cluster || *wanted != cursor);
            }
            anyhow::Ok(())
        });
        waited.await.context("waiting for all positions")?
    }

    /// Takes what is said until all that a task says that it has changed is in the view; returns that, and what arrived when.
    pub(super) async fn follow(
        &mut self,
        mut changes: JoinHandle<anyhow::Result<Vec<Stamp>>>,
    ) -> anyhow::Result<(Vec<Stamp>, Vec<Stamp>)> {
        let mut sent = None;
        let mut arrived = Vec::new();
        let mut reached: BTreeMap<ClusterName, Revision> = BTreeMap::new();
        let has = |reached: &BTreeMap<ClusterName, Revision>, stamp: &Stamp| {
            reached.get(&stamp.cluster) >= Some(&stamp.revision)
        };
        let waited = timeout(PATIENCE, async {
            loop {
                tokio::select! {
                    done = &mut changes, if sent.is_none() => sent = Some(done??),
                    progress = self.progress() => {
                        let (cluster, Cursor { revision, .. }) = progress?;
                        reached.insert(cluster.clone(), revision);
                        arrived.push(Stamp { cluster, revision, at: Instant::now() });
                    }
                }
                let all = sent.take_if(|all: &mut Vec<Stamp>| {
                    all.last().is_none_or(|last| has(&reached, last))
                        && all.iter().all(|stamp| has(&reached, stamp))
                });
                if let Some(all) = all {
                    return anyhow::Ok((all, arrived));
                }
            }
        });
        waited.await.context("waiting for the changes")?
    }

    /// Takes what is said until a peer's next position is in the view. Cancel safe: what was taken stays taken.
    async fn progress(&mut self) -> anyhow::Result<(ClusterName, Cursor)> {
        loop {
            let report = self.reports.recv().await;
            let Report { peer, event, .. } = report.context("the session's owner is gone")?;
            if let Some(cursor) = self.take(&peer.cluster, event) {
                std::hint::black_box((self.registry.take_touched(), self.registry.view()));
                return Ok((peer.cluster.clone(), cursor));
            }
        }
    }

    fn take(&mut self, west: &ClusterName, event: PeerEvent) -> Option<Cursor> {
        match event {
            PeerEvent::Up {
                handle, resumed, ..
            } => {
                self.handle = Some(handle);
                if !resumed {
                    self.registry.prepare_comparison(west);
                }
            }
            PeerEvent::SnapshotBegin(ranges) => self.registry.handle_import_begin(west, &ranges),
            PeerEvent::Updates(updates) => {
                for update in updates {
                    let taken =
                        self.registry
                            .handle_import(west, update.key, update.value, update.trace);
                    // All is granted.
                    drop(taken);
                }
            }
            PeerEvent::SnapshotEnd => self.registry.handle_import_end(west),
            PeerEvent::Compare { theirs, reply } => {
                let step = self.registry.compare_imports(west, &theirs);
                step.into_iter().for_each(|step| drop(reply.try_send(step)));
            }
            PeerEvent::Progress(cursor) => return Some(cursor),
            PeerEvent::Subscribed { .. }
            | PeerEvent::Slowed(_)
            | PeerEvent::Rtt(_)
            | PeerEvent::Refused(_)
            | PeerEvent::Down { .. }
            | PeerEvent::Unreachable { .. } => {}
        }
        None
    }
}

/// Who keeps a session with a publisher, and has nothing to say itself.
pub(super) fn dialer(
    world: &World,
    expected: &ClusterName,
    address: SocketAddr,
    events: mpsc::Sender<Report>,
) -> anyhow::Result<Dialer> {
    let (feed, mut server) = FeedServer::new(Cursor::at(Epoch(1), Default::default()));
    tokio::spawn(async move {
        let (store, mut reader) = (Store::new(Epoch(1)), Reader::new(None));
        while let Some(request) = server.next().await {
            request.answer(&store, &mut reader);
        }
    });
    Ok(Dialer {
        settings: world.settings(&east()?)?,
        expected: gateway(expected)?,
        addresses: vec![address.try_into()?],
        feed,
        resume: Resume::default(),
        subscribes: Subscribes::Now,
        compares: false,
        events,
        max_backoff: DEFAULT_MAX_BACKOFF,
        seed: u64::from(address.port()),
    })
}

/// Serves a registry that holds everything.
fn serve(number: u32, epoch: Epoch, size: Size) -> anyhow::Result<(Feed, mpsc::Sender<Order>)> {
    let mut registry = registry(number, epoch, size)?;
    let (feed, mut server) = FeedServer::new(registry.exports().cursor());
    let (orders_tx, mut orders) = mpsc::channel::<Order>(64);
    tokio::runtime::Handle::current().spawn(async move {
        let mut reader = Reader::new(None);
        loop {
            tokio::select! {
                Some((changes, reply)) = orders.recv() => {
                    for (id, value) in changes {
                        registry.apply_local(&id, Some(value), None);
                    }
                    // What a gateway shows its own cluster is up to date, too.
                    std::hint::black_box((registry.take_touched(), registry.view()));
                    server.publish(registry.exports().cursor());
                    let _gone = reply.send(registry.exports().cursor());
                }
                Some(request) = server.next() => request.answer(registry.exports(), &mut reader),
                else => break,
            }
        }
        // A process that ends does not free what it holds piece by piece, at the expense of the other side.
        std::mem::forget((registry, reader));
    });
    Ok((feed, orders_tx))
}
