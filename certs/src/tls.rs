//! The two TLS configurations of the clusterset: both sides mutual, TLS 1.3 only, one application protocol.
//!
//! Sessions are never resumed: a resumed one would skip the certificates and so outlive them.

use std::sync::Arc;

use cluster_registry::name::ClusterName;
use rustls::{
    ClientConfig, ServerConfig, client::Resumption, crypto::CryptoProvider,
    server::NoServerSessionStorage, sign::SingleCertAndKey, version::TLS13,
};

use crate::{
    credentials::Credentials,
    identity::SpiffeId,
    verifier::{ClientVerifier, ServerVerifier},
};

/// The protocol that both sides name in the handshake (ALPN); its number changes with the wire format.
pub const ALPN: &[u8] = b"isthmus/1";

/// Who must answer a dial: a gateway of this cluster, in the dialler's own trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The cluster whose gateway is dialled.
    pub cluster: ClusterName,
}

/// Why credentials make no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificates, the key or the versions do not fit together.
    #[error("the credentials cannot be used for TLS")]
    Rustls(#[from] rustls::Error),
    /// The trust anchors cannot verify anybody.
    #[error("the trust anchors cannot be used")]
    Anchors(#[from] rustls::client::VerifierBuilderError),
}

/// The configuration of a side that is dialled: asks every peer for a certificate of its own trust domain.
pub fn server_config(credentials: &Credentials) -> Result<ServerConfig, TlsError> {
    let trust_domain = credentials.id().trust_domain.clone();
    let verifier = ClientVerifier::try_new(Arc::clone(credentials.roots()), trust_domain)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(own_certificate(credentials));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The configuration of a side that dials one cluster's gateway; the server name it is used with has no meaning.
pub fn client_config(
    credentials: &Credentials,
    expected: Expectation,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let trust_domain = credentials.id().trust_domain.clone();
    let verifier = ServerVerifier {
        roots: Arc::clone(credentials.roots()),
        algorithms: provider.signature_verification_algorithms,
        expected: SpiffeId::gateway(trust_domain, expected.cluster),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(own_certificate(credentials));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // An id stands for the name, so none is sent.
    config.enable_sni = false;
    Ok(config)
}

/// The cryptography that everything here uses.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn own_certificate(credentials: &Credentials) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(Arc::clone(credentials.certified())))
}

#[cfg(test)]
mod tests;
