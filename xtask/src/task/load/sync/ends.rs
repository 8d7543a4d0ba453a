//! The two ends: a store that is published, and a registry that takes it, as gateways do it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::Context;
use certs::{
    Credentials,
    authority::{Authority, Validity},
    credentials::{ANCHORS_FILE, CERTIFICATE_FILE, KEY_FILE},
    identity::{SpiffeId, TrustDomain},
};
use cluster_registry::{
    endpoint::{Conditions, Endpoint, EndpointPort},
    link::LinkSpec,
    name::{ClusterName, NodeName, ServiceName},
    registry::Registry,
    resource::{Key, Resource, ResourceId},
    service::{Protocol, Service},
    store::{Cursor, Epoch, Store},
};
use mesh_gateway_core::{convert::encode_for_digest, question::Reader};
use mesh_link::{
    dial::Dialer,
    event::{GoodbyeReason, PeerEvent, Report, SessionHandle},
    feed::{Feed, FeedServer},
    listen::{Denied, Grant, Listener, Subscribes},
    resume::Resume,
    settings::{
        DEFAULT_DETECT_MULTIPLIER, DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_MAX_BACKOFF, Settings,
        start_instance,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::Size;

const PATIENCE: Duration = Duration::from_secs(60);

/// The cluster that publishes, and the one that takes it.
const WEST: &str = "west";
const EAST: &str = "east";

/// What the store's owner is told, and answers with where the store stands.
type Order = (Option<(Key, Resource)>, oneshot::Sender<Cursor>);

/// The publishing end.
pub(super) struct Publisher {
    pub(super) address: SocketAddr,
    authority: Authority,
    size: Size,
    current: Arc<Mutex<(Feed, mpsc::Sender<Order>)>>,
}

impl Publisher {
    pub(super) fn start(epoch: u64, size: Size) -> anyhow::Result<Self> {
        let trust_domain = TrustDomain::parse("cluster.local")?;
        let authority = Authority::create(trust_domain, validity())?;
        let current = Arc::new(Mutex::new(serve(epoch, size)?));
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
        let listener = Listener::bind(any, settings(&authority, WEST)?, authorise)?;
        let address = listener.local_address().context("finding the address")?;
        tokio::spawn(listener.run(CancellationToken::new()));
        Ok(Self {
            address,
            authority,
            size,
            current,
        })
    }

    /// Where a subscriber stands that knows everything.
    pub(super) fn newest(&self) -> Cursor {
        let (feed, _) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *feed.newest.borrow()
    }

    /// The same state in a new life of the store.
    pub(super) async fn restart(&self, epoch: u64) -> anyhow::Result<Cursor> {
        let size = self.size;
        let next = tokio::task::spawn_blocking(move || serve(epoch, size)).await??;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(self.newest())
    }

    /// Changes an endpoint of the first service, and returns where the store then stands.
    pub(super) async fn change(&self, backend: u32, number: u32) -> anyhow::Result<Cursor> {
        let port = u16::try_from(1 + number % 60_000)?;
        let change = (
            endpoint_key(0, backend, self.size)?,
            endpoint(backend, port)?,
        );
        let orders = {
            let (_, orders) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner);
            orders.clone()
        };
        let (reply, answer) = oneshot::channel();
        orders
            .send((Some(change), reply))
            .await
            .context("the store is gone")?;
        answer.await.context("the store is gone")
    }
}

/// The taking end.
pub(super) struct Subscriber {
    registry: Registry,
    west: ClusterName,
    reports: mpsc::Receiver<Report>,
    handle: Option<SessionHandle>,
}

impl Subscriber {
    pub(super) fn dial(publisher: &Publisher, address: SocketAddr) -> anyhow::Result<Self> {
        let west = ClusterName::parse(WEST)?;
        let (events, reports) = mpsc::channel(64);
        let east = ClusterName::parse(EAST)?;
        let mut registry = Registry::new(east.clone(), Epoch(1), Epoch(1));
        registry.digest_with(encode_for_digest);
        let mut link = LinkSpec::new(west.clone());
        link.limits.endpoints = usize::MAX;
        link.limits.services = usize::MAX;
        registry.add_peer(&link);
        let own = Key {
            cluster: east,
            id: ResourceId::Cluster,
        };
        let (feed, mut server) = FeedServer::new(Cursor::at(Epoch(1), Default::default()));
        tokio::spawn(async move {
            let (store, mut reader) = (Store::new(Epoch(1)), Reader::new(None));
            while let Some(request) = server.next().await {
                request.answer(&store, &mut reader);
            }
        });
        let dialer = Dialer {
            settings: settings(&publisher.authority, EAST)?,
            expected: gateway(WEST)?,
            addresses: vec![address.try_into()?],
            feed,
            resume: Resume::default(),
            subscribes: Subscribes::Now,
            compares: true,
            events,
            max_backoff: DEFAULT_MAX_BACKOFF,
            seed: own.cluster.as_str().len() as u64,
        };
        tokio::spawn(dialer.run(CancellationToken::new()));
        Ok(Self {
            registry,
            west,
            reports,
            handle: None,
        })
    }

    /// Ends the session, which is dialled anew.
    pub(super) fn close(&self) {
        if let Some(handle) = &self.handle {
            handle.close(GoodbyeReason::ShuttingDown);
        }
    }

    /// Takes what is said until everything up to a position is in the view.
    pub(super) async fn until(&mut self, wanted: Cursor) -> anyhow::Result<()> {
        let waited = timeout(PATIENCE, async {
            loop {
                let report = self
                    .reports
                    .recv()
                    .await
                    .context("the session's owner is gone")?;
                if self.take(report.event) == Some(wanted) {
                    std::hint::black_box(self.registry.view());
                    return anyhow::Ok(());
                }
            }
        });
        waited.await.context("waiting for a position")?
    }

    fn take(&mut self, event: PeerEvent) -> Option<Cursor> {
        match event {
            PeerEvent::Up { handle, .. } => self.handle = Some(handle),
            PeerEvent::SnapshotBegin(ranges) => {
                self.registry.handle_import_begin(&self.west, &ranges);
            }
            PeerEvent::Updates(updates) => {
                for update in updates {
                    // All is granted.
                    drop(self.registry.handle_import(
                        &self.west,
                        update.key,
                        update.value,
                        update.trace,
                    ));
                }
            }
            PeerEvent::SnapshotEnd => self.registry.handle_import_end(&self.west),
            PeerEvent::Compare { theirs, reply } => {
                let step = self.registry.compare_imports(&self.west, &theirs);
                step.into_iter().for_each(|step| drop(reply.try_send(step)));
            }
            PeerEvent::Progress(cursor) => return Some(cursor),
            PeerEvent::Subscribed { .. }
            | PeerEvent::Rtt(_)
            | PeerEvent::Refused(_)
            | PeerEvent::Down { .. }
            | PeerEvent::Unreachable { .. } => {}
        }
        None
    }
}

/// Serves a store that holds everything.
fn serve(epoch: u64, size: Size) -> anyhow::Result<(Feed, mpsc::Sender<Order>)> {
    let mut store = Store::new(Epoch(epoch));
    for service in 0..size.services {
        let key = Key {
            cluster: ClusterName::parse(WEST)?,
            id: ResourceId::Service(service_name(service)?),
        };
        let mut value = Service::default();
        value.sharing.global = true;
        value.sharing.shared = true;
        store.put(key, Resource::from(value), None);
        for backend in 0..size.backends {
            let key = endpoint_key(service, backend, size)?;
            store.put(key, endpoint(service * 7 + backend, 8080)?, None);
        }
    }
    let (feed, mut server) = FeedServer::new(store.cursor());
    let (orders_tx, mut orders) = mpsc::channel::<Order>(64);
    tokio::runtime::Handle::current().spawn(async move {
        let mut reader = Reader::new(None);
        loop {
            tokio::select! {
                Some((change, reply)) = orders.recv() => {
                    if let Some((key, value)) = change {
                        store.put(key, value, None);
                    }
                    server.publish(store.cursor());
                    let _gone = reply.send(store.cursor());
                }
                Some(request) = server.next() => request.answer(&store, &mut reader),
                else => return,
            }
        }
    });
    Ok((feed, orders_tx))
}

fn service_name(number: u32) -> anyhow::Result<ServiceName> {
    Ok(ServiceName::parse("shop", &format!("service-{number}"))?)
}

/// Pods land anywhere: neighbours' addresses are of different nodes.
fn endpoint_key(service: u32, backend: u32, size: Size) -> anyhow::Result<Key> {
    let number = (service * size.backends + backend).wrapping_mul(40_503) & 0xf_ffff;
    let address = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + number));
    Ok(Key {
        cluster: ClusterName::parse(WEST)?,
        id: ResourceId::Endpoint(service_name(service)?, address),
    })
}

fn endpoint(number: u32, port: u16) -> anyhow::Result<Resource> {
    let node = number.wrapping_mul(2_654_435_761) >> 20;
    Ok(Resource::from(Endpoint {
        ports: vec![EndpointPort {
            name: None,
            protocol: Protocol::Tcp,
            port,
        }]
        .into(),
        conditions: Conditions::READY,
        node: Some(NodeName::parse(&format!("node-{node}"))?),
        zone: Some(format!("zone-{}", node % 3).into()),
        hostname: None,
        hints: None,
    }))
}

fn gateway(cluster: &str) -> anyhow::Result<SpiffeId> {
    let trust_domain = TrustDomain::parse("cluster.local")?;
    Ok(SpiffeId::gateway(
        trust_domain,
        ClusterName::parse(cluster)?,
    ))
}

fn validity() -> Validity {
    Validity::starting(SystemTime::now(), Duration::from_secs(3600))
}

fn settings(authority: &Authority, cluster: &str) -> anyhow::Result<Settings> {
    let id = gateway(cluster)?;
    let issued = authority.issue(&id, validity())?;
    let dir = std::env::temp_dir().join(format!("isthmus-sync-{}-{cluster}", std::process::id()));
    std::fs::create_dir_all(&dir).context("making a directory for certificates")?;
    for (file, text) in [
        (ANCHORS_FILE, authority.certificate_pem()),
        (CERTIFICATE_FILE, &issued.certificate),
        (KEY_FILE, &issued.key),
    ] {
        let path = dir.join(file);
        std::fs::write(&path, text).context("writing a certificate")?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))
            .context("protecting a certificate")?;
    }
    let credentials = Credentials::load(&dir);
    std::fs::remove_dir_all(&dir).context("removing the certificates")?;
    Ok(Settings {
        cluster: id.cluster,
        instance: start_instance("bench")?,
        is_node: false,
        credentials: Arc::new(credentials?),
        heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
        detect_multiplier: DEFAULT_DETECT_MULTIPLIER,
    })
}
