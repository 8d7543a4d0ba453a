//! What resolvers get to see of `clusterset.local`, through real sockets.

mod client;

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::Ordering,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::{DNSClass, RData, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::DnsServer;
use client::{Rig, question, send_framed, with_payload};

const WEB: &str = "web.shop.svc.clusterset.local.";

const MANY: &str = "many.shop.svc.clusterset.local.";

#[tokio::test]
async fn a_service_is_found_over_udp_and_tcp_in_both_families() {
    let rig = Rig::start().await;

    for (kind, expected) in [
        (RecordType::A, "10.96.0.1"),
        (RecordType::AAAA, "fd00:96::1"),
    ] {
        let asked = question(WEB, kind);
        for reply in [rig.udp(&asked).await, rig.tcp(&asked).await] {
            let answer = reply.message;
            assert_eq!(addresses(&answer), [expected.parse::<IpAddr>().unwrap()]);
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            assert_eq!(answer.metadata.id, asked.metadata.id);
            assert_eq!(answer.queries, asked.queries);
            assert!(answer.metadata.authoritative);
            assert!(!answer.metadata.recursion_available);
            assert_eq!(answer.answers[0].ttl, super::TTL_SECONDS);
        }
    }
    assert_eq!(rig.queries.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn names_are_found_whatever_their_case_and_repeated_as_asked() {
    let rig = Rig::start().await;
    let asked = "wEb.ShOp.SVC.clusterSet.LOCAL.";

    let answer = rig.ask(asked, RecordType::A).await;

    assert_eq!(addresses(&answer).len(), 1);
    assert_eq!(answer.queries[0].name().to_ascii(), asked);
    assert_eq!(answer.answers[0].name.to_ascii(), asked);
}

#[tokio::test]
async fn a_port_is_found_with_its_service_as_the_target() {
    let rig = Rig::start().await;

    for name in [
        "_http._tcp.ports.shop.svc.clusterset.local.",
        "ports.shop.svc.clusterset.local.",
    ] {
        let answer = rig.ask(name, RecordType::SRV).await;

        let [record] = answer.answers.as_slice() else {
            panic!("{name}: {answer:?}");
        };
        let RData::SRV(service) = &record.data else {
            panic!("{record:?}");
        };
        assert_eq!((service.priority, service.port), (0, 80));
        assert!(service.weight > 0);
        assert_eq!(
            service.target.to_ascii(),
            "ports.shop.svc.clusterset.local."
        );
    }
    let unknown = rig
        .ask(
            "_ftp._tcp.ports.shop.svc.clusterset.local.",
            RecordType::SRV,
        )
        .await;
    assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn addresses_are_not_resolved_to_names() {
    let rig = Rig::start().await;

    let answer = rig.ask("1.0.96.10.in-addr.arpa.", RecordType::PTR).await;

    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn the_schemas_version_is_told() {
    let rig = Rig::start().await;

    let answer = rig
        .ask("dns-version.clusterset.local.", RecordType::TXT)
        .await;

    let RData::TXT(text) = &answer.answers[0].data else {
        panic!("{answer:?}");
    };
    assert_eq!(text.to_string(), "1.0.0");
}

#[tokio::test]
async fn udp_answers_are_cut_to_what_the_client_can_take_and_tcp_gives_all() {
    let rig = Rig::start().await;
    let plain = question(MANY, RecordType::A);

    let mut before = 0;
    // Without EDNS; asking for less than may be; in between; asking for more than fits one packet.
    for (asked, limit) in [
        (plain.clone(), 512),
        (with_payload(plain.clone(), 100), 512),
        (with_payload(plain.clone(), 1000), 1000),
        (with_payload(plain.clone(), u16::MAX), 1232),
    ] {
        let reply = rig.udp(&asked).await;
        assert!(reply.length <= limit, "{} for {limit}", reply.length);
        assert!(reply.message.metadata.truncation);
        assert!(reply.message.answers.len() >= before);
        before = reply.message.answers.len();
        assert_eq!(reply.message.edns.is_some(), asked.edns.is_some());
    }
    let whole = rig.tcp(&plain).await.message;
    assert!(!whole.metadata.truncation);
    assert_eq!(addresses(&whole).len(), 200);
}

#[tokio::test]
async fn names_that_do_not_exist_are_denied() {
    let rig = Rig::start().await;

    for name in [
        "none.shop.svc.clusterset.local.",
        "private.shop.svc.clusterset.local.",
        "web.bank.svc.clusterset.local.",
        "east.web.shop.svc.clusterset.local.",
        "a.b.c.d.e.f.clusterset.local.",
    ] {
        let answer = rig.ask(name, RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        expect_negative(&answer);
    }
}

#[tokio::test]
async fn names_that_have_nothing_of_a_type_still_exist() {
    let rig = Rig::start().await;

    for (name, kind) in [
        ("four.shop.svc.clusterset.local.", RecordType::AAAA),
        (WEB, RecordType::MX),
        ("shop.svc.clusterset.local.", RecordType::A),
        ("svc.clusterset.local.", RecordType::A),
        ("clusterset.local.", RecordType::A),
    ] {
        let answer = rig.ask(name, kind).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        expect_negative(&answer);
    }
}

#[tokio::test]
async fn the_zones_own_soa_is_answered() {
    let rig = Rig::start().await;

    let answer = rig.ask("clusterset.local.", RecordType::SOA).await;

    assert_eq!(answer.answers[0].record_type(), RecordType::SOA);
}

#[tokio::test]
async fn other_zones_and_classes_are_refused() {
    let rig = Rig::start().await;
    for name in [
        "example.org.",
        "local.",
        ".",
        "xclusterset.local.",
        "clusterset.local.example.",
    ] {
        let answer = rig.ask(name, RecordType::A).await;
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::Refused,
            "{name}"
        );
        assert!(!answer.metadata.authoritative, "{name}");
    }
    for class in [DNSClass::CH, DNSClass::HS, DNSClass::ANY] {
        let mut asked = question(WEB, RecordType::A);
        asked.queries[0].set_query_class(class);
        let answer = rig.udp(&asked).await.message;
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::Refused,
            "{class}"
        );
        assert!(answer.answers.is_empty());
    }
}

#[tokio::test]
async fn a_server_that_knows_nothing_yet_fails_and_does_not_deny() {
    let rig = Rig::start_unsynced().await;

    let answer = rig.ask(WEB, RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(!answer.metadata.authoritative);
    let other = rig.ask("example.org.", RecordType::A).await;
    assert_eq!(other.metadata.response_code, ResponseCode::Refused);

    rig.sync();
    assert_eq!(addresses(&rig.ask(WEB, RecordType::A).await).len(), 1);
}

#[tokio::test]
async fn what_is_no_question_is_answered_with_its_error() {
    let rig = Rig::start().await;
    let asked = question(WEB, RecordType::A);

    let mut none = asked.clone();
    none.queries.clear();
    let mut two = asked.clone();
    two.add_query(asked.queries[0].clone());
    for wrong in [none, two] {
        let answer = rig.udp(&wrong).await.message;
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
    }
    for operation in [OpCode::Status, OpCode::Notify] {
        let mut other = asked.clone();
        other.metadata.op_code = operation;
        let answer = rig.udp(&other).await.message;
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::NotImp,
            "{operation:?}"
        );
    }
    let mut newer = asked.clone();
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    let answer = rig.udp(&newer).await.message;
    // In a TSIG record the same number means a bad signature, and the reader takes it for that.
    let code = u16::from(answer.metadata.response_code);
    assert_eq!(code, u16::from(ResponseCode::BADVERS));
    assert_eq!(answer.version(), 0);
}

#[tokio::test]
async fn an_answer_is_not_answered() {
    let rig = Rig::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut answer = question(WEB, RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.id = 1;
    let mut asked = question(WEB, RecordType::A);
    asked.metadata.id = 2;

    for message in [answer, asked] {
        let bytes = message.to_vec().unwrap();
        socket.send_to(&bytes, rig.address).await.unwrap();
    }

    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).await.unwrap();
    let first = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(
        first.metadata.id, 2,
        "two servers would answer each other for ever"
    );
}

#[tokio::test]
async fn malformed_datagrams_do_not_end_the_server() {
    let rig = Rig::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let whole = question(WEB, RecordType::A).to_vec().unwrap();
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let mut looping = whole.clone();
    // A name that points at itself (RFC 1035, section 4.1.4).
    looping.splice(12..14, [0xc0, 12]);
    let mut counted = whole.clone();
    counted[4..12].fill(0xff);
    let noise = (0..64_u8).map(|seed| {
        let bytes = (0..200_u8).map(|at| at.wrapping_mul(seed).rotate_left(3) ^ seed);
        bytes.collect()
    });
    let wrong = cut.chain([looping, counted, vec![0; 65_000]]).chain(noise);

    for datagram in wrong {
        socket.send_to(&datagram, rig.address).await.unwrap();
    }

    assert_eq!(addresses(&rig.ask(WEB, RecordType::A).await).len(), 1);
    rig.end().await.unwrap();
}

#[tokio::test]
async fn malformed_streams_do_not_end_the_server() {
    let rig = Rig::start().await;
    let whole = question(WEB, RecordType::A).to_vec().unwrap();

    let mut noisy = TcpStream::connect(rig.address).await.unwrap();
    send_framed(&mut noisy, &[0xff; 300]).await;
    let mut empty = TcpStream::connect(rig.address).await.unwrap();
    send_framed(&mut empty, &[]).await;
    let mut half = TcpStream::connect(rig.address).await.unwrap();
    half.write_u16(u16::MAX).await.unwrap();
    half.write_all(&whole).await.unwrap();
    drop(TcpStream::connect(rig.address).await.unwrap());

    let answer = rig.tcp(&question(WEB, RecordType::A)).await.message;
    assert_eq!(addresses(&answer).len(), 1);
    assert_eq!(addresses(&rig.ask(WEB, RecordType::A).await).len(), 1);
    drop((noisy, empty, half));
    rig.end().await.unwrap();
}

#[tokio::test]
async fn one_connection_carries_several_questions() {
    let rig = Rig::start().await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let mut ids = Vec::new();
    for id in 1..=3 {
        let mut asked = question(WEB, RecordType::A);
        asked.metadata.id = id;
        send_framed(&mut stream, &asked.to_vec().unwrap()).await;
    }
    for _ in 1..=3 {
        let length = stream.read_u16().await.unwrap();
        let mut reply = vec![0; usize::from(length)];
        stream.read_exact(&mut reply).await.unwrap();
        ids.push(Message::from_vec(&reply).unwrap().metadata.id);
    }

    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
}

#[tokio::test]
async fn an_open_connection_does_not_hold_up_the_end() {
    let rig = Rig::start().await;
    let _idle = TcpStream::connect(rig.address).await.unwrap();
    rig.ask(WEB, RecordType::A).await;

    rig.end().await.unwrap();
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let answers = message.answers.iter();
    answers.filter_map(|record| record.data.ip_addr()).collect()
}

/// No answers, and the SOA record that bounds how long that is cached (RFC 2308, section 5).
fn expect_negative(message: &Message) {
    assert!(message.answers.is_empty(), "{message:?}");
    assert!(message.metadata.authoritative, "{message:?}");
    let [soa] = message.authorities.as_slice() else {
        panic!("no SOA: {message:?}");
    };
    assert_eq!(soa.name.to_ascii(), "clusterset.local.");
    let RData::SOA(data) = &soa.data else {
        panic!("{soa:?}");
    };
    assert_eq!(soa.ttl, super::TTL_SECONDS);
    assert_eq!(data.minimum, super::TTL_SECONDS);
}

#[tokio::test]
async fn a_chosen_port_that_is_taken_for_tcp_does_not_end_the_start() {
    // One address of the loopback network, so that only this test's ports count.
    let address = SocketAddr::from(([127, 53, 53, 53], 0));
    let mut taken = Vec::new();
    for _ in 0..500 {
        taken.push(TcpListener::bind(address).await.unwrap());
    }
    // Of these, some are all but certain to meet a taken port first.
    for _ in 0..500 {
        DnsServer::bind(&[address]).await.unwrap();
    }
}
