//! Who a gateway or an agent is: its SPIFFE id, and how that is read out of a certificate.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use cluster_registry::name::{ClusterName, NodeName, ParseNameError};
use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

/// The longest trust domain (SPIFFE ID specification, section 2.3).
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

const SCHEME: &str = "spiffe://";

/// The name of a trust root; the ids of one clusterset share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Checks a text and keeps it.
    pub fn parse(text: &str) -> Result<Self, ParseIdError> {
        let is_allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        let is_sized = !text.is_empty() && text.len() <= MAX_TRUST_DOMAIN_BYTES;
        if !is_sized || !text.bytes().all(is_allowed) {
            return Err(ParseIdError::TrustDomain(shorten(text)));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id that an authority of this trust domain has.
    pub(crate) fn uri(&self) -> String {
        format!("{SCHEME}{self}")
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// What the holder of a certificate is within its cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A gateway, which speaks for the whole cluster.
    Gateway,
    /// The agent of one node.
    Node(NodeName),
}

/// The id of a gateway or an agent.
///
/// As text it is `spiffe://<trust-domain>/cluster/<cluster>/gateway` or
/// `spiffe://<trust-domain>/cluster/<cluster>/node/<node>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The trust root that vouches for it.
    pub trust_domain: TrustDomain,
    /// The cluster that it belongs to.
    pub cluster: ClusterName,
    /// What it is there.
    pub role: Role,
}

/// Why a text is not an id of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// It is not a SPIFFE id at all.
    #[error("'{0}' does not begin with spiffe://")]
    Scheme(String),
    /// The trust domain is empty, too long or has a forbidden character.
    #[error(
        "'{0}' is not a trust domain: lower-case letters, digits, '.', '-' and '_', at most 255"
    )]
    TrustDomain(String),
    /// The path is neither a gateway's nor a node's.
    #[error("'{0}' is neither /cluster/<name>/gateway nor /cluster/<name>/node/<node>")]
    Path(String),
    /// The cluster or the node has an invalid name.
    #[error("the path names no valid cluster or node")]
    Name(#[from] ParseNameError),
}

impl SpiffeId {
    /// The id of a cluster's gateways.
    pub fn gateway(trust_domain: TrustDomain, cluster: ClusterName) -> Self {
        Self {
            trust_domain,
            cluster,
            role: Role::Gateway,
        }
    }

    /// The id of a node's agent.
    pub fn node(trust_domain: TrustDomain, cluster: ClusterName, node: NodeName) -> Self {
        Self {
            trust_domain,
            cluster,
            role: Role::Node(node),
        }
    }

    /// Reads an id from its text.
    pub fn parse(text: &str) -> Result<Self, ParseIdError> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| ParseIdError::Scheme(shorten(text)))?;
        let (trust_domain, path) = rest
            .split_once('/')
            .ok_or_else(|| ParseIdError::Path(String::new()))?;
        let trust_domain = TrustDomain::parse(trust_domain)?;
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            ["cluster", cluster, "gateway"] => {
                Ok(Self::gateway(trust_domain, ClusterName::parse(cluster)?))
            }
            ["cluster", cluster, "node", node] => Ok(Self::node(
                trust_domain,
                ClusterName::parse(cluster)?,
                NodeName::parse(node)?,
            )),
            _ => Err(ParseIdError::Path(shorten(path))),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trust_domain,
            cluster,
            role,
        } = self;
        match role {
            Role::Gateway => write!(f, "{SCHEME}{trust_domain}/cluster/{cluster}/gateway"),
            Role::Node(node) => write!(f, "{SCHEME}{trust_domain}/cluster/{cluster}/node/{node}"),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Why a certificate does not say who its holder is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The peer showed no certificate.
    #[error("there is no certificate")]
    Missing,
    /// It is no X.509 certificate.
    #[error("the certificate cannot be read")]
    Malformed,
    /// It may sign others, so it is an authority and no peer.
    #[error("the certificate is an authority's")]
    Authority,
    /// It must have exactly one URI among its subject alternative names.
    #[error("the certificate has {0} URIs instead of one")]
    UriCount(usize),
    /// Its URI is no id of ours.
    #[error("the certificate's URI is not an Isthmus id")]
    Id(#[from] ParseIdError),
    /// Another trust root's id.
    #[error("the certificate is of trust domain '{found}', not of '{expected}'")]
    OtherTrustDomain {
        /// The trust domain of this side.
        expected: TrustDomain,
        /// The trust domain of the certificate.
        found: TrustDomain,
    },
    /// A valid id, of somebody else than was dialled.
    #[error("the certificate is of {found}, not of {expected}")]
    OtherIdentity {
        /// Who was dialled.
        expected: Box<SpiffeId>,
        /// Who answered.
        found: Box<SpiffeId>,
    },
}

impl IdentityError {
    /// A short name for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Missing => "no_certificate",
            Self::Malformed => "malformed_certificate",
            Self::Authority => "authority_certificate",
            Self::UriCount(_) => "uri_count",
            Self::Id(_) => "not_an_id",
            Self::OtherTrustDomain { .. } => "other_trust_domain",
            Self::OtherIdentity { .. } => "other_identity",
        }
    }
}

/// Reads the id out of a certificate chain, whose first certificate is the peer's own.
///
/// It does not verify the chain: that happened in the handshake.
pub fn identity_of(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, IdentityError> {
    let leaf = chain.first().ok_or(IdentityError::Missing)?;
    let certificate = parse(leaf)?;
    if certificate.is_ca() {
        return Err(IdentityError::Authority);
    }
    Ok(SpiffeId::parse(single_uri(&certificate)?)?)
}

/// Until when the first certificate of a chain counts.
pub fn expiry_of(chain: &[CertificateDer<'_>]) -> Result<SystemTime, IdentityError> {
    let leaf = chain.first().ok_or(IdentityError::Missing)?;
    let not_after = parse(leaf)?.validity().not_after.timestamp();
    let since = Duration::from_secs(u64::try_from(not_after).unwrap_or_default());
    Ok(SystemTime::UNIX_EPOCH + since)
}

/// Parses a certificate which must fill the given bytes.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(IdentityError::Malformed),
    }
}

/// The only URI among a certificate's subject alternative names.
pub(crate) fn single_uri<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Result<&'a str, IdentityError> {
    // An error stands for an extension that is there twice or cannot be parsed.
    let Ok(names) = certificate.subject_alternative_name() else {
        return Err(IdentityError::Malformed);
    };
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    let uris: Vec<&str> = names.iter().filter_map(uri).collect();
    match uris.as_slice() {
        [only] => Ok(only),
        _ => Err(IdentityError::UriCount(uris.len())),
    }
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::URI(uri) = name {
        Some(uri)
    } else {
        None
    }
}

/// Keeps a foreign text short enough for a log line.
fn shorten(text: &str) -> String {
    text.chars().take(MAX_TRUST_DOMAIN_BYTES).collect()
}

#[cfg(test)]
mod tests;
