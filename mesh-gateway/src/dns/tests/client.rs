//! A client that speaks to the server over sockets, and the server with a view of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cluster_registry::{
    endpoint::Endpoint,
    name::{ClusterName, PortName, ServiceName},
    service::{Protocol, Service, ServiceKind, ServicePort, Sharing},
    view::{MergedService, View},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::super::*;

/// Later than this, a server on loopback does not answer at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running server.
pub(super) struct Rig {
    pub(super) address: SocketAddr,
    pub(super) queries: Arc<AtomicU64>,
    views: watch::Sender<Option<Arc<View>>>,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// What came back, and how many bytes it was.
pub(super) struct Reply {
    pub(super) message: Message,
    pub(super) length: usize,
}

impl Rig {
    /// A server that has no view yet.
    pub(super) async fn start_unsynced() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = DnsServer::bind(&[loopback]).await.unwrap();
        let address = server.local_address().unwrap();
        let (views, views_rx) = watch::channel(None);
        let queries = Arc::new(AtomicU64::new(0));
        let responder = Responder::new(views_rx, Metrics::default(), Arc::clone(&queries));
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(server.run(responder.unwrap(), shutdown.clone()));
        Self {
            address,
            queries,
            views,
            shutdown,
            task,
        }
    }

    /// A server that knows `shop/web` with a cluster IP of each family, `shop/four` with an IPv4 one alone, the headless
    /// `shop/many` with 200 endpoints of each family, and `shop/private`, which is not global.
    pub(super) async fn start() -> Self {
        let rig = Self::start_unsynced().await;
        rig.sync();
        rig
    }

    pub(super) fn sync(&self) {
        self.views.send_replace(Some(Arc::new(view())));
    }

    pub(super) async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.udp(&question(name, kind)).await.message
    }

    pub(super) async fn udp(&self, message: &Message) -> Reply {
        let bytes = message.to_vec().unwrap();
        let reply = self.udp_bytes(&bytes).await;
        Reply {
            message: Message::from_vec(&reply).unwrap(),
            length: reply.len(),
        }
    }

    pub(super) async fn udp_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(bytes, self.address).await.unwrap();
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let received = timeout(PATIENCE, socket.recv(&mut buffer)).await;
        buffer.truncate(received.unwrap().unwrap());
        buffer
    }

    pub(super) async fn tcp(&self, message: &Message) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        send_framed(&mut stream, &message.to_vec().unwrap()).await;
        let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        let mut reply = vec![0; usize::from(length)];
        let read = timeout(PATIENCE, stream.read_exact(&mut reply)).await;
        read.unwrap().unwrap();
        Reply {
            message: Message::from_vec(&reply).unwrap(),
            length: reply.len(),
        }
    }

    /// Asks the server to end, and hands over how it ended.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

/// Writes a message as DNS over TCP carries it (RFC 1035, section 4.2.2).
pub(super) async fn send_framed(stream: &mut TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap();
    stream.write_u16(length).await.unwrap();
    stream.write_all(message).await.unwrap();
}

pub(super) fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

pub(super) fn with_payload(mut question: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    question.set_edns(edns);
    question
}

fn view() -> View {
    let services = [
        ("web", service(&["10.96.0.1", "fd00:96::1"], true)),
        ("four", service(&["10.96.0.4"], true)),
        ("many", many()),
        ("ports", ports()),
        ("private", service(&["10.96.0.9"], false)),
    ];
    let services = services.map(|(name, service)| {
        let name = ServiceName::parse("shop", name).unwrap();
        (name, Arc::new(service))
    });
    View {
        services: services.into_iter().collect(),
        ..View::new(name("east"))
    }
}

fn service(cluster_ips: &[&str], global: bool) -> MergedService {
    MergedService {
        local: Some(Arc::new(Service {
            cluster_ips: cluster_ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            sharing: Sharing {
                global,
                shared: true,
                ..Sharing::default()
            },
            ..Service::default()
        })),
        ..MergedService::default()
    }
}

fn ports() -> MergedService {
    let mut service = service(&["10.96.0.7"], true);
    if let Some(local) = &mut service.local {
        let http = PortName::parse("http").unwrap();
        Arc::make_mut(local).ports = vec![ServicePort::new(Some(http), Protocol::Tcp, 80)];
    }
    service
}

fn many() -> MergedService {
    let mut service = service(&[], true);
    if let Some(local) = &mut service.local {
        Arc::make_mut(local).kind = ServiceKind::Headless;
    }
    let endpoint = Arc::new(Endpoint::ready([]));
    let addresses = (0..200).flat_map(|n: u8| {
        let v6 = format!("fd00:10::{n:x}");
        [format!("10.1.0.{n}"), v6].map(|text| text.parse().unwrap())
    });
    let endpoints = addresses.map(|address| (address, Arc::clone(&endpoint)));
    service.endpoints.insert(name("east"), endpoints.collect());
    service
}

fn name(text: &str) -> ClusterName {
    ClusterName::parse(text).unwrap()
}
