//! The DNS server: puts the answers for `clusterset.local` on the wire, over UDP and TCP.
//!
//! It is authoritative for that one zone, never recurses, and refuses every other name, so that a resolver that asks it
//! by mistake goes on to the next server.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use async_trait::async_trait;
use cluster_registry::{
    dns::{Answer, Place, RecordKind, lookup},
    view::View,
};
use hickory_proto::{
    op::{Edns, Header, HeaderCounts, LowerQuery, MessageType, Metadata, OpCode, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{SOA, SRV, TXT},
    },
};
use hickory_server::{
    Server,
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::metrics::{DnsLabels, Metrics};

/// How long an answer may be cached: the conformance suite of the Multi-Cluster Services API expects changes within
/// seconds, and the sample of its specification says 4.
const TTL_SECONDS: u32 = 4;

/// The weight of every SRV record: above 0, which would make a place rare (RFC 2782), and all alike.
const SRV_WEIGHT: u16 = 1;

/// The zone, from its last label.
const ZONE: [&str; 2] = ["local", "clusterset"];

/// The largest UDP answer: one that no path fragments (DNS flag day 2020).
const MAX_UDP_PAYLOAD: u16 = 1232;

/// The smallest that a client may ask for (RFC 6891, section 6.2.3).
const MIN_UDP_PAYLOAD: u16 = 512;

/// How long a TCP client may be silent.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers that may wait for a TCP client to read them.
const TCP_ANSWERS: usize = 16;

/// How often the kernel may choose a port that is taken for TCP.
const PORT_CHOICES: usize = 16;

/// The sockets, bound before anything is served, so that a taken port ends the start.
#[derive(Debug)]
pub(crate) struct DnsServer {
    sockets: Vec<(UdpSocket, TcpListener)>,
}

impl DnsServer {
    /// Binds UDP and TCP on each address.
    pub(crate) async fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut sockets = Vec::new();
        for address in addresses {
            sockets.push(bind_both(*address).await?);
        }
        Ok(Self { sockets })
    }

    /// The first address.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.sockets.first()?.0.local_addr().ok()
    }

    /// Answers until the token is cancelled; a socket that fails ends it with an error.
    pub(crate) async fn run(
        self,
        responder: Responder,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut server = Server::new(responder);
        for (udp, tcp) in self.sockets {
            server.register_socket(udp);
            server.register_listener(tcp, TCP_TIMEOUT, TCP_ANSWERS);
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            ended = server.block_until_done() => return ended.context("serving DNS"),
        }
        server.shutdown_gracefully().await.context("ending DNS")
    }
}

/// Binds UDP and TCP to one port.
///
/// With port 0 the kernel chooses for UDP without a look at TCP, where the port may be taken: then it chooses again.
async fn bind_both(address: SocketAddr) -> anyhow::Result<(UdpSocket, TcpListener)> {
    let mut choices = if address.port() == 0 { PORT_CHOICES } else { 1 };
    loop {
        let udp = UdpSocket::bind(address)
            .await
            .with_context(|| format!("binding DNS to UDP {address}"))?;
        let bound = udp.local_addr().context("asking for the DNS port")?;
        choices -= 1;
        match TcpListener::bind(bound).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if error.kind() == ErrorKind::AddrInUse && choices > 0 => {}
            Err(error) => {
                return Err(error).with_context(|| format!("binding DNS to TCP {bound}"));
            }
        }
    }
}

/// Makes answers from the newest view.
#[derive(Debug)]
pub(crate) struct Responder {
    views: watch::Receiver<Option<Arc<View>>>,
    start_of_authority: Record,
    metrics: Metrics,
    queries: Arc<AtomicU64>,
}

impl Responder {
    /// Answers from the views, failing while there is none, and counts the questions.
    pub(crate) fn new(
        views: watch::Receiver<Option<Arc<View>>>,
        metrics: Metrics,
        queries: Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            views,
            start_of_authority: start_of_authority().context("making the zone's SOA record")?,
            metrics,
            queries,
        })
    }

    fn reply_to(&self, query: &LowerQuery) -> Reply {
        let name = query.original().name();
        let labels: Vec<String> = name
            .iter()
            .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase())
            .collect();
        let is_ours = labels
            .iter()
            .rev()
            .map(String::as_str)
            .take(ZONE.len())
            .eq(ZONE);
        if !is_ours || query.query_class() != DNSClass::IN {
            return Reply::empty(ResponseCode::Refused);
        }
        let Some(view) = self.views.borrow().clone() else {
            return Reply::empty(ResponseCode::ServFail);
        };
        let below: Vec<&str> = labels
            .iter()
            .take(labels.len() - ZONE.len())
            .map(String::as_str)
            .collect();
        if below.is_empty() && query.query_type() == RecordType::SOA {
            return Reply {
                answers: vec![self.start_of_authority.clone()],
                ..Reply::empty(ResponseCode::NoError)
            };
        }
        let records: Vec<RData> = match lookup(&view, &below, kind_of(query.query_type())) {
            Answer::Addresses(addresses) => addresses.into_iter().map(RData::from).collect(),
            Answer::Places(places) => places.iter().filter_map(service_record).collect(),
            Answer::Text(text) => vec![RData::TXT(TXT::new(vec![text.to_owned()]))],
            Answer::NoData => return self.negative(ResponseCode::NoError),
            Answer::NxDomain => return self.negative(ResponseCode::NXDomain),
        };
        let record = |data| Record::from_rdata(name.clone(), TTL_SECONDS, data);
        Reply {
            answers: records.into_iter().map(record).collect(),
            ..Reply::empty(ResponseCode::NoError)
        }
    }

    fn negative(&self, code: ResponseCode) -> Reply {
        Reply {
            authorities: vec![self.start_of_authority.clone()],
            ..Reply::empty(code)
        }
    }

    fn count(&self, kind: RecordType, reply: &Reply) {
        self.queries.fetch_add(1, Ordering::Relaxed);
        let kind = match kind_of(kind) {
            RecordKind::A => "a",
            RecordKind::Aaaa => "aaaa",
            RecordKind::Srv => "srv",
            RecordKind::Txt => "txt",
            RecordKind::Other => "other",
        };
        let outcome = reply.outcome();
        self.metrics
            .dns_answers
            .get_or_create(&DnsLabels { kind, outcome })
            .inc();
    }
}

#[async_trait]
impl RequestHandler for Responder {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut out: R,
    ) -> ResponseInfo {
        let is_question = request.metadata.message_type == MessageType::Query;
        let edns = request.edns.as_ref().map(edns_for);
        let reply = match request.request_info() {
            Ok(_) if request.version() > 0 => Reply::empty(ResponseCode::BADVERS),
            Ok(info) if is_question && request.metadata.op_code == OpCode::Query => {
                let reply = self.reply_to(info.query);
                self.count(info.query.query_type(), &reply);
                reply
            }
            Ok(_) if is_question => Reply::empty(ResponseCode::NotImp),
            Ok(_) | Err(_) => Reply::empty(ResponseCode::FormErr),
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.is_authoritative();
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let response = builder.build(metadata, &reply.answers, &reply.authorities, &[], &[]);
        match out.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS answer was not sent");
                let counts = HeaderCounts::default();
                ResponseInfo::from(Header { metadata, counts })
            }
        }
    }
}

/// One answer, before it is written.
#[derive(Debug)]
struct Reply {
    code: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
}

impl Reply {
    fn empty(code: ResponseCode) -> Self {
        Self {
            code,
            answers: Vec::new(),
            authorities: Vec::new(),
        }
    }

    fn is_authoritative(&self) -> bool {
        self.code == ResponseCode::NoError || self.code == ResponseCode::NXDomain
    }

    fn outcome(&self) -> &'static str {
        if !self.answers.is_empty() {
            "found"
        } else if self.code == ResponseCode::NoError {
            "no_data"
        } else if self.code == ResponseCode::NXDomain {
            "no_such_name"
        } else if self.code == ResponseCode::Refused {
            "refused"
        } else {
            "failed"
        }
    }
}

/// A place as a record; one whose name does not fit into DNS is left out.
fn service_record(place: &Place) -> Option<RData> {
    let target = Name::from_ascii(format!("{}.clusterset.local.", place.target)).ok()?;
    Some(RData::SRV(SRV::new(0, SRV_WEIGHT, place.port, target)))
}

fn kind_of(kind: RecordType) -> RecordKind {
    if kind == RecordType::A {
        RecordKind::A
    } else if kind == RecordType::AAAA {
        RecordKind::Aaaa
    } else if kind == RecordType::SRV {
        RecordKind::Srv
    } else if kind == RecordType::TXT {
        RecordKind::Txt
    } else {
        RecordKind::Other
    }
}

fn edns_for(asked: &Edns) -> Edns {
    let mut edns = Edns::new();
    let payload = asked.max_payload().clamp(MIN_UDP_PAYLOAD, MAX_UDP_PAYLOAD);
    edns.set_max_payload(payload);
    edns
}

/// The record that lets resolvers cache a negative answer, no longer than a positive one (RFC 2308).
fn start_of_authority() -> Result<Record, hickory_proto::ProtoError> {
    let zone = Name::from_ascii("clusterset.local.")?;
    let server = Name::from_ascii("dns.clusterset.local.")?;
    let mailbox = Name::from_ascii("hostmaster.clusterset.local.")?;
    let ttl = TTL_SECONDS.cast_signed();
    let data = SOA::new(server, mailbox, 1, ttl, ttl, ttl, TTL_SECONDS);
    Ok(Record::from_rdata(zone, TTL_SECONDS, RData::SOA(data)))
}

#[cfg(test)]
mod tests;
