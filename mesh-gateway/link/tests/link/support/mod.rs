//! Two ends of a link on loopback: stores to publish, replicas of what the peer says, and a relay that can be cut.

mod relay;
pub(crate) mod replicas;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use certs::{
    authority::{Authority, Validity},
    credentials::{ANCHORS_FILE, CERTIFICATE_FILE, Credentials, KEY_FILE},
    identity::{Role, SpiffeId, TrustDomain},
};
use cluster_registry::{
    digest::{Step, StoreDigests, Summary},
    name::{ClusterName, ServiceName},
    resource::{Key, Resource, ResourceId},
    service::Service,
    store::{Epoch, Store},
    trace::TraceContext,
};
use mesh_gateway_core::{convert::encode_for_digest, question::Reader};
use mesh_link::{
    dial::Dialer,
    event::{PeerEvent, Report, SessionHandle},
    feed::{Feed, FeedServer},
    listen::{Denied, Grant, Listener, Subscribes},
    resume::Resume,
    settings::{
        DEFAULT_DETECT_MULTIPLIER, DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_MAX_BACKOFF, Settings,
        start_instance,
    },
};
use relay::Relay;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long any condition is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn authority() -> Authority {
    let trust_domain = TrustDomain::parse("cluster.local").unwrap();
    let validity = Validity::starting(SystemTime::now(), Duration::from_secs(3600));
    Authority::create(trust_domain, validity).unwrap()
}

pub(crate) fn gateway(name: &str) -> SpiffeId {
    SpiffeId::gateway(TrustDomain::parse("cluster.local").unwrap(), cluster(name))
}

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

pub(crate) fn settings(authority: &Authority, id: &SpiffeId) -> Settings {
    let dir = tempfile::tempdir().unwrap();
    let validity = Validity::starting(SystemTime::now(), Duration::from_secs(3600));
    let issued = authority.issue(id, validity).unwrap();
    let write = |file: &str, text: &str| {
        let path = dir.path().join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
    };
    write(ANCHORS_FILE, authority.certificate_pem());
    write(CERTIFICATE_FILE, &issued.certificate);
    write(KEY_FILE, &issued.key);
    Settings {
        cluster: id.cluster.clone(),
        instance: start_instance("test").unwrap(),
        is_node: id.role != Role::Gateway,
        credentials: Arc::new(Credentials::load(dir.path()).unwrap()),
        heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
        detect_multiplier: DEFAULT_DETECT_MULTIPLIER,
    }
}

pub(crate) fn service(of: &str, name: &str) -> Key {
    Key {
        cluster: cluster(of),
        id: ResourceId::Service(ServiceName::parse("shop", name).unwrap()),
    }
}

pub(crate) const TRACE: TraceContext = TraceContext {
    trace_id: [7; 16],
    span_id: [8; 8],
    sampled: true,
};

/// A store and the task that serves it.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) feed: Feed,
    changes: mpsc::Sender<(Key, bool)>,
}

impl Publisher {
    pub(crate) fn start(epoch: u64) -> Self {
        let mut store = Store::new(Epoch(epoch));
        let mut reader = Reader::new(None);
        let (feed, mut server) = FeedServer::new(store.cursor());
        let (changes_tx, mut changes) = mpsc::channel::<(Key, bool)>(16);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(request) = server.next() => request.answer(&store, &mut reader),
                    Some((key, is_present)) = changes.recv() => {
                        if is_present {
                            store.put(key, Resource::from(Service::default()), Some(TRACE));
                        } else {
                            store.delete(&key, Some(TRACE));
                        }
                        server.publish(store.cursor());
                    }
                    else => return,
                }
            }
        });
        Self {
            feed,
            changes: changes_tx,
        }
    }

    pub(crate) async fn put(&self, key: Key) {
        self.changes.send((key, true)).await.unwrap();
    }

    pub(crate) async fn delete(&self, key: Key) {
        self.changes.send((key, false)).await.unwrap();
    }
}

/// What one end knows of the other, by its reports alone.
pub(crate) struct Replica {
    reports: mpsc::Receiver<Report>,
    pub(crate) known: BTreeMap<Key, Resource>,
    unsaid: BTreeSet<Key>,
    pub(crate) ups: Vec<bool>,
    pub(crate) downs: Vec<(Instant, String)>,
    pub(crate) unreachable: Vec<String>,
    pub(crate) refused: usize,
    pub(crate) snapshots: usize,
    pub(crate) traces: Vec<Option<TraceContext>>,
    pub(crate) rtt: Option<Duration>,
    pub(crate) slowed: Option<bool>,
    pub(crate) handle: Option<SessionHandle>,
}

impl Replica {
    pub(crate) fn new() -> (mpsc::Sender<Report>, Self) {
        let (tx, reports) = mpsc::channel(4);
        let replica = Self {
            reports,
            known: BTreeMap::new(),
            unsaid: BTreeSet::new(),
            ups: Vec::new(),
            downs: Vec::new(),
            unreachable: Vec::new(),
            refused: 0,
            snapshots: 0,
            traces: Vec::new(),
            rtt: None,
            slowed: None,
            handle: None,
        };
        (tx, replica)
    }

    /// Takes reports until a condition holds.
    pub(crate) async fn until(&mut self, what: &str, is_met: impl Fn(&Self) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !is_met(self) {
                let report = self
                    .reports
                    .recv()
                    .await
                    .expect("the session's owner lives");
                self.take(report.event);
            }
        });
        if waited.await.is_err() {
            panic!(
                "waited in vain for {what}: ups {:?}, downs {:?}, unreachable {:?}, known {:?}",
                self.ups, self.downs, self.unreachable, self.known
            );
        }
    }

    fn compare(&self, theirs: &[Summary]) -> Step {
        let mut store = Store::new(Epoch(0));
        for (key, value) in &self.known {
            store.put(key.clone(), value.clone(), None);
        }
        StoreDigests::new(encode_for_digest, None).compare(&store, theirs)
    }

    fn take(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Up {
                resumed, handle, ..
            } => {
                self.ups.push(resumed);
                self.handle = Some(handle);
            }
            PeerEvent::Subscribed { resumed } => self.ups.push(resumed),
            PeerEvent::Compare { theirs, reply } => drop(reply.try_send(self.compare(&theirs))),
            PeerEvent::SnapshotBegin(ranges) => {
                let is_inside = |key: &&Key| ranges.iter().any(|range| range.contains(key));
                self.unsaid = self.known.keys().filter(is_inside).cloned().collect();
            }
            PeerEvent::Updates(updates) => {
                for update in updates {
                    self.traces.push(update.trace);
                    self.unsaid.remove(&update.key);
                    match update.value {
                        Some(value) => self.known.insert(update.key, value),
                        None => self.known.remove(&update.key),
                    };
                }
            }
            PeerEvent::SnapshotEnd => {
                self.snapshots += 1;
                for key in std::mem::take(&mut self.unsaid) {
                    self.known.remove(&key);
                }
            }
            PeerEvent::Progress(_) => {}
            PeerEvent::Slowed(is_slowed) => self.slowed = Some(is_slowed),
            PeerEvent::Rtt(rtt) => self.rtt = Some(rtt),
            PeerEvent::Refused(_) => self.refused += 1,
            PeerEvent::Down { reason } => self.downs.push((Instant::now(), reason.to_string())),
            PeerEvent::Unreachable { reason, .. } => self.unreachable.push(reason),
        }
    }
}

/// A dialing and an accepting gateway, with a relay between them.
pub(crate) struct Pair {
    pub(crate) east: Publisher,
    pub(crate) west: Publisher,
    /// What east knows.
    pub(crate) at_east: Replica,
    /// What west knows.
    pub(crate) at_west: Replica,
    pub(crate) relay: Relay,
    /// Where west listens.
    pub(crate) listens_at: SocketAddr,
    pub(crate) stop_west: CancellationToken,
    pub(crate) stop_east: CancellationToken,
}

/// The identities in which the two ends appear, and who is expected.
pub(crate) struct Ends {
    pub(crate) dialer: Settings,
    pub(crate) listener: Settings,
    pub(crate) expected: SpiffeId,
    pub(crate) admitted: SpiffeId,
    /// When the listener asks for the dialer's state.
    pub(crate) subscribes: Subscribes,
}

impl Ends {
    /// East dials west, each is who the other expects, and both ask at once.
    pub(crate) fn of(authority: &Authority) -> Self {
        Self {
            dialer: settings(authority, &gateway("east")),
            listener: settings(authority, &gateway("west")),
            expected: gateway("west"),
            admitted: gateway("east"),
            subscribes: Subscribes::Now,
        }
    }
}

impl Pair {
    pub(crate) async fn start() -> Self {
        Self::start_with(Ends::of(&authority())).await
    }

    pub(crate) async fn start_with(ends: Ends) -> Self {
        let (east, west) = (Publisher::start(1), Publisher::start(2));
        let (east_tx, at_east) = Replica::new();
        let (west_tx, at_west) = Replica::new();
        let grant = Grant {
            feed: west.feed.clone(),
            resume: Resume::default(),
            subscribes: ends.subscribes,
            compares: true,
            events: west_tx,
        };
        let admitted = ends.admitted;
        let authorise = move |peer: &SpiffeId, _| {
            if *peer == admitted {
                return Ok(grant.clone());
            }
            let reason = "no link".to_owned();
            Err(Denied { reason })
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, ends.listener, authorise).unwrap();
        let listens_at = listener.local_address().unwrap();
        let relay = Relay::start(listens_at).await;
        let dialer = Dialer {
            settings: ends.dialer,
            expected: ends.expected,
            addresses: vec![relay.address.try_into().unwrap()],
            feed: east.feed.clone(),
            resume: Resume::default(),
            subscribes: Subscribes::Now,
            compares: true,
            events: east_tx,
            max_backoff: DEFAULT_MAX_BACKOFF,
            seed: 1,
        };
        let (stop_west, stop_east) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(listener.run(stop_west.clone()));
        tokio::spawn(dialer.run(stop_east.clone()));
        Self {
            east,
            west,
            at_east,
            at_west,
            relay,
            listens_at,
            stop_west,
            stop_east,
        }
    }

    pub(crate) async fn until_up(&mut self) {
        self.at_east
            .until("east's first session", |r| !r.ups.is_empty())
            .await;
        self.at_west
            .until("west's first session", |r| !r.ups.is_empty())
            .await;
    }
}
