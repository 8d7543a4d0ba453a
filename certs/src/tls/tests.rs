//! Handshakes in memory: who is let in, and a matrix of those who are not.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, IsCa, KeyPair, SanType};
use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use super::*;
use crate::{
    authority::{Authority, IssuedPem, Validity},
    identity::{IdentityError, TrustDomain, identity_of},
};

#[test]
fn gateways_of_one_clusterset_see_each_others_identity() {
    let ca = Ca::new("td");

    let seen = ca.dial(&ca.gateway("east"), &ca.gateway("west"), "west");

    let (client_saw, server_saw) = seen.unwrap();
    assert_eq!(client_saw.to_string(), "spiffe://td/cluster/west/gateway");
    assert_eq!(server_saw.to_string(), "spiffe://td/cluster/east/gateway");
}

#[test]
fn an_agent_reaches_its_gateway() {
    let ca = Ca::new("td");
    let agent = ca.credentials("spiffe://td/cluster/east/node/n1");

    let (_, server_saw) = ca.dial(&agent, &ca.gateway("east"), "east").unwrap();

    assert_eq!(server_saw, *agent.id());
}

#[test]
fn an_answer_from_another_cluster_is_refused() {
    let ca = Ca::new("td");

    let refused = ca.dial(&ca.gateway("east"), &ca.gateway("north"), "west");

    assert_refused(
        "north",
        refused,
        "of spiffe://td/cluster/north/gateway, not of",
    );
}

#[test]
fn an_agent_cannot_answer_for_its_clusters_gateway() {
    let ca = Ca::new("td");
    let agent = ca.credentials("spiffe://td/cluster/west/node/n1");

    let refused = ca.dial(&ca.gateway("east"), &agent, "west");

    assert_refused(
        "agent",
        refused,
        "of spiffe://td/cluster/west/node/n1, not of",
    );
}

#[test]
fn bad_certificates_are_refused_when_they_dial() {
    let ca = Ca::new("td");
    for (name, bad, reason) in bad_certificates(&ca) {
        let refused = ca.dial(&bad, &ca.gateway("west"), "west");
        assert_refused(&name, refused, reason);
    }
}

#[test]
fn bad_certificates_are_refused_when_they_answer() {
    let ca = Ca::new("td");
    for (name, bad, reason) in bad_certificates(&ca) {
        let refused = ca.dial(&ca.gateway("west"), &bad, "east");
        assert_refused(&name, refused, reason);
    }
}

#[test]
fn a_peer_without_a_certificate_is_refused() {
    let ca = Ca::new("td");
    let server = server_config(&ca.gateway("west")).unwrap();
    let verifier = ServerVerifier {
        roots: Arc::clone(ca.gateway("west").roots()),
        algorithms: provider().signature_verification_algorithms,
        expected: ca.gateway("west").id().clone(),
    };
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];

    let refused = handshake(client, server);

    assert_refused("none", refused, "peer sent no certificates");
}

#[test]
fn a_peer_that_speaks_another_protocol_is_refused() {
    let ca = Ca::new("td");
    let server = server_config(&ca.gateway("west")).unwrap();
    let expected = Expectation {
        cluster: ClusterName::parse("west").unwrap(),
    };
    let mut client = client_config(&ca.gateway("east"), expected).unwrap();
    client.alpn_protocols = vec![b"isthmus/0".to_vec()];

    let refused = handshake(client, server);

    assert_refused("alpn", refused, "known protocol");
}

#[test]
fn a_certificate_that_expires_does_so_for_known_peers_too() {
    let ca = Ca::new("td");
    let server = server_config(&ca.gateway("west")).unwrap();

    // A ticket would let a peer in again without its certificate.
    assert_eq!(server.send_tls13_tickets, 0);
    assert!(!server.session_storage.can_cache());
}

#[test]
fn an_authority_is_no_peer() {
    let ca = Ca::new("td");
    let authority = CertificateDer::from_pem_slice(ca.authority.certificate_pem().as_bytes());

    let refused = identity_of(&[authority.unwrap()]);

    assert_eq!(refused, Err(IdentityError::Authority));
}

/// Certificates of `east`'s gateway that nobody may believe, each with what the refusing side must say.
fn bad_certificates(ca: &Ca) -> Vec<(String, Credentials, &'static str)> {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let expired = Validity {
        not_before: now - 2 * hour,
        not_after: now - hour,
    };
    let not_yet_valid = Validity {
        not_before: now + hour,
        not_after: now + 2 * hour,
    };
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    let mut two_uris = leaf();
    two_uris.subject_alt_names = vec![uri(EAST), uri("spiffe://td/cluster/west/gateway")];
    let mut no_uri = leaf();
    no_uri.subject_alt_names = vec![SanType::DnsName("east.example".try_into().unwrap())];
    let mut other_trust_domain = leaf();
    other_trust_domain.subject_alt_names = vec![uri("spiffe://other/cluster/east/gateway")];
    let mut not_an_id = leaf();
    not_an_id.subject_alt_names = vec![uri("spiffe://td/ns/default/sa/web")];
    let mut signs = leaf();
    signs.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let mut other_usage = leaf();
    other_usage.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
    let rows = [
        (
            "other CA of that name",
            Ca::new("td").issue("td", Validity::starting(now, hour)),
            "BadSignature",
        ),
        (
            "other CA",
            Ca::new("other").issue("other", Validity::starting(now, hour)),
            "UnknownIssuer",
        ),
        ("expired", ca.issue("td", expired), "expired"),
        (
            "not yet valid",
            ca.issue("td", not_yet_valid),
            "not valid yet",
        ),
        ("two URIs", ca.sign(&two_uris), "2 URIs"),
        ("no URI", ca.sign(&no_uri), "0 URIs"),
        (
            "other trust domain",
            ca.sign(&other_trust_domain),
            "'other', not of 'td'",
        ),
        ("no id of ours", ca.sign(&not_an_id), "not an Isthmus id"),
        ("CA leaf", ca.sign(&signs), "CaUsedAsEndEntity"),
        ("other usage", ca.sign(&other_usage), "extended key usage"),
    ];
    rows.map(|(name, pem, reason)| (name.to_owned(), ca.holding(&pem, EAST), reason))
        .into()
}

fn assert_refused(name: &str, seen: Seen, reason: &str) {
    let error = seen.expect_err(name).to_string();
    assert!(error.contains(reason), "{name}: {error}");
}

const EAST: &str = "spiffe://td/cluster/east/gateway";

/// What a good leaf has, to be spoilt in one point.
fn leaf() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(EAST.try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

struct Ca {
    authority: Authority,
}

impl Ca {
    fn new(trust_domain: &str) -> Self {
        let domain = TrustDomain::parse(trust_domain).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let validity = Validity {
            not_before: SystemTime::now() - day,
            not_after: SystemTime::now() + day,
        };
        let authority = Authority::create(domain, validity).unwrap();
        Self { authority }
    }

    /// A certificate of `east`'s gateway.
    fn issue(&self, trust_domain: &str, validity: Validity) -> IssuedPem {
        let id = format!("spiffe://{trust_domain}/cluster/east/gateway");
        let id = SpiffeId::parse(&id).unwrap();
        self.authority.issue(&id, validity).unwrap()
    }

    /// A certificate that no authority would issue, yet with a good signature.
    fn sign(&self, params: &CertificateParams) -> IssuedPem {
        let key = KeyPair::from_pem(&self.authority.key_pem()).unwrap();
        let issuer =
            rcgen::Issuer::from_ca_cert_pem(self.authority.certificate_pem(), key).unwrap();
        let leaf_key = KeyPair::generate().unwrap();
        IssuedPem {
            certificate: params.signed_by(&leaf_key, &issuer).unwrap().pem(),
            key: leaf_key.serialize_pem(),
        }
    }

    fn gateway(&self, cluster: &str) -> Credentials {
        self.credentials(&format!("spiffe://td/cluster/{cluster}/gateway"))
    }

    fn credentials(&self, id: &str) -> Credentials {
        let hour = Validity::starting(SystemTime::now(), Duration::from_secs(3600));
        let pem = self.authority.issue(&SpiffeId::parse(id).unwrap(), hour);
        self.holding(&pem.unwrap(), id)
    }

    /// Credentials that believe this authority, whatever their own certificate is.
    fn holding(&self, pem: &IssuedPem, id: &str) -> Credentials {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        Credentials::from_parts(
            SpiffeId::parse(id).unwrap(),
            vec![der(self.authority.certificate_pem())],
            vec![der(&pem.certificate)],
            PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).unwrap(),
        )
    }

    /// What client and server saw of each other, or why one of them refused.
    fn dial(&self, client: &Credentials, server: &Credentials, expected: &str) -> Seen {
        let cluster = ClusterName::parse(expected)?;
        let client = client_config(client, Expectation { cluster })?;
        handshake(client, server_config(server)?)
    }
}

type Seen = Result<(SpiffeId, SpiffeId), Box<dyn std::error::Error>>;

/// Passes bytes between both ends until the handshake is over.
fn handshake(client: ClientConfig, server: ServerConfig) -> Seen {
    let name = ServerName::try_from("isthmus")?;
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes)?;
        server.read_tls(&mut bytes.as_slice())?;
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes)?;
        client.read_tls(&mut bytes.as_slice())?;
        client.process_new_packets()?;
    }
    let seen_by_client = identity_of(client.peer_certificates().unwrap_or_default())?;
    let seen_by_server = identity_of(server.peer_certificates().unwrap_or_default())?;
    Ok((seen_by_client, seen_by_server))
}
