//! The clusterset's certificate authority: makes itself once, then issues short-lived certificates.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::identity::{self, IdentityError, ParseIdError, SpiffeId, TrustDomain};

/// How long a certificate is valid when nobody says otherwise: short, for there is no revocation list.
pub const DEFAULT_LEAF_VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// How long an authority is valid when nobody says otherwise: ten years.
pub const DEFAULT_AUTHORITY_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How far the clocks of two clusters may differ before a fresh certificate looks not yet valid.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// The last second that X.509 can express (RFC 5280, section 4.1.2.5): the end of the year 9999.
const MAX_UNIX_SECONDS: u64 = 253_402_300_799;

/// When a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

impl Validity {
    /// From now, and a little before it for clocks that are behind.
    pub fn starting(now: SystemTime, valid_for: Duration) -> Self {
        Self {
            not_before: now - CLOCK_SKEW,
            not_after: now + valid_for,
        }
    }
}

/// Why the authority cannot issue.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A key or certificate could not be made or read.
    #[error("the key or certificate cannot be made or read")]
    Certificate(#[from] rcgen::Error),
    /// The authority's file has no certificate.
    #[error("the authority's file has no certificate")]
    NoCertificate,
    /// The authority's certificate does not name its trust domain.
    #[error("the authority's certificate names no trust domain")]
    Identity(#[from] IdentityError),
    /// The authority's URI is not that of a trust domain.
    #[error("the authority's URI '{0}' is not that of a trust domain")]
    NotATrustDomain(String),
    /// The certificate's trust domain is malformed.
    #[error("the authority's trust domain is malformed")]
    TrustDomain(#[from] ParseIdError),
    /// The certificate is no authority's.
    #[error("the certificate is not an authority's")]
    NotAnAuthority,
    /// The key is another certificate's.
    #[error("the authority's key does not belong to its certificate")]
    KeyMismatch,
    /// The certificate is asked for another trust domain.
    #[error("the authority of '{own}' cannot issue for '{asked}'")]
    OtherTrustDomain {
        /// Its own trust domain.
        own: TrustDomain,
        /// The one of the asked id.
        asked: TrustDomain,
    },
    /// It would end before it begins, because the authority itself has run out.
    #[error("the authority's own certificate has expired")]
    Expired,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct IssuedPem {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS #8).
    pub key: String,
}

/// A certificate authority with its private key.
pub struct Authority {
    trust_domain: TrustDomain,
    certificate_pem: String,
    not_after: SystemTime,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority.
    pub fn create(trust_domain: TrustDomain, validity: Validity) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(&format!("Isthmus CA of {trust_domain}"));
        params.subject_alt_names = vec![uri_name(&trust_domain.uri())?];
        // No intermediates: a leaf of this authority may not issue.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, validity);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            trust_domain,
            certificate_pem,
            not_after: validity.not_after,
            issuer: Issuer::new(params, key),
        })
    }

    /// Reads an authority back from its PEM texts.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let Ok(der) = CertificateDer::from_pem_slice(certificate_pem.as_bytes()) else {
            return Err(AuthorityError::NoCertificate);
        };
        let certificate = identity::parse(&der)?;
        if !certificate.is_ca() {
            return Err(AuthorityError::NotAnAuthority);
        }
        let uri = identity::single_uri(&certificate)?;
        let trust_domain = trust_domain_of(uri)?;
        let key = KeyPair::from_pem(key_pem)?;
        if certificate.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(AuthorityError::KeyMismatch);
        }
        let not_after = system_time(certificate.validity().not_after.timestamp());
        Ok(Self {
            trust_domain,
            certificate_pem: certificate_pem.to_owned(),
            not_after,
            issuer: Issuer::from_ca_cert_der(&der, key)?,
        })
    }

    /// The trust domain that it issues for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Its certificate, which verifies what it issues.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its private key.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a certificate for an id, which ends at the latest with the authority's own.
    pub fn issue(&self, id: &SpiffeId, validity: Validity) -> Result<IssuedPem, AuthorityError> {
        if id.trust_domain != self.trust_domain {
            return Err(AuthorityError::OtherTrustDomain {
                own: self.trust_domain.clone(),
                asked: id.trust_domain.clone(),
            });
        }
        let not_after = validity.not_after.min(self.not_after);
        if not_after <= validity.not_before {
            return Err(AuthorityError::Expired);
        }
        let mut params = leaf_params(id)?;
        let validity = Validity {
            not_after,
            ..validity
        };
        set_validity(&mut params, validity);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<IssuedPem, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(IssuedPem {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// What every certificate of a gateway or an agent has, but for its validity.
fn leaf_params(id: &SpiffeId) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(id.cluster.as_str());
    params.subject_alt_names = vec![uri_name(&id.to_string())?];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Both, because a gateway dials some peers and is dialled by others.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn distinguished_name(common_name: &str) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn uri_name(uri: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(uri.try_into()?))
}

fn trust_domain_of(uri: &str) -> Result<TrustDomain, AuthorityError> {
    let name = uri
        .strip_prefix("spiffe://")
        .ok_or_else(|| AuthorityError::NotATrustDomain(uri.to_owned()))?;
    Ok(TrustDomain::parse(name)?)
}

/// Sets a validity, held within what X.509 can express.
fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(validity.not_before);
    params.not_after = epoch + since_epoch(validity.not_after);
}

fn since_epoch(time: SystemTime) -> Duration {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(since.as_secs().min(MAX_UNIX_SECONDS))
}

/// The time of an ASN.1 timestamp.
pub(crate) fn system_time(unix_seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(unix_seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests;
