//! What `isthmus certs` does: makes an authority, issues credentials, and says what a certificate is.
//!
//! The functions take the time and say what they did as values; printing is the caller's.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use cluster_registry::name::{ClusterName, NodeName};
use rustls_pki_types::CertificateDer;
use serde::Serialize;

use crate::{
    authority::{Authority, AuthorityError, Validity},
    credentials::{ANCHORS_FILE, CERTIFICATE_FILE, KEY_FILE, LoadError, certificates},
    file::{NewFile, PRIVATE, PUBLIC, WriteError, write_all},
    identity::{self, IdentityError, SpiffeId, TrustDomain},
};

/// The file with an authority's private key, beside its certificate in `ca.pem`.
pub const AUTHORITY_KEY_FILE: &str = "ca-key.pem";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The authority refused or cannot be read.
    #[error("the authority cannot do this")]
    Authority(#[from] AuthorityError),
    /// A file was not written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A certificate file cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An authority's file cannot be read.
    #[error("cannot read {path}: is that the directory of `isthmus certs init`?")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate in the file is malformed.
    #[error("{path} holds something that is no certificate")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: IdentityError,
    },
}

/// What [`init`] makes.
#[derive(Debug, Clone)]
pub struct Init {
    /// Where the authority's files go.
    pub dir: PathBuf,
    /// The trust domain that it issues for.
    pub trust_domain: TrustDomain,
    /// How long it is valid.
    pub valid_for: Duration,
    /// Whether existing files are replaced, which ends the trust of all they issued.
    pub force: bool,
}

/// What [`issue`] makes.
#[derive(Debug, Clone)]
pub struct Issue {
    /// The directory of the authority.
    pub authority: PathBuf,
    /// The cluster that the holder belongs to.
    pub cluster: ClusterName,
    /// The node whose agent it is; `None` for the cluster's gateway.
    pub node: Option<NodeName>,
    /// Where `ca.pem`, `cert.pem` and `key.pem` go.
    pub out: PathBuf,
    /// How long the certificate is valid.
    pub valid_for: Duration,
    /// Whether existing files are replaced.
    pub force: bool,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The file that holds it.
    pub file: PathBuf,
    /// Its URI: a holder's id, or an authority's trust domain.
    pub uri: Option<String>,
    /// Whether it is an authority's.
    pub is_authority: bool,
    /// Who issued it.
    pub issuer: String,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// From when it counts, in seconds since 1970.
    pub not_before_unix_s: i64,
    /// Until when it counts, in seconds since 1970.
    pub not_after_unix_s: i64,
    /// Whether it counts at the time of asking.
    pub is_valid_now: bool,
    /// Why a gateway or an agent could not use it; `None` for an authority and for a good one.
    pub problem: Option<String>,
}

/// Makes an authority and writes `ca.pem` and `ca-key.pem`; returns the authority.
pub fn init(command: &Init, now: SystemTime) -> Result<Authority, CommandError> {
    let validity = Validity::starting(now, command.valid_for);
    let authority = Authority::create(command.trust_domain.clone(), validity)?;
    let key = authority.key_pem();
    let files = [
        NewFile {
            name: AUTHORITY_KEY_FILE,
            text: &key,
            mode: PRIVATE,
        },
        NewFile {
            name: ANCHORS_FILE,
            text: authority.certificate_pem(),
            mode: PUBLIC,
        },
    ];
    write_all(&command.dir, &files, command.force)?;
    Ok(authority)
}

/// Issues credentials and writes `ca.pem`, `cert.pem` and `key.pem`; returns the holder's id.
pub fn issue(command: &Issue, now: SystemTime) -> Result<SpiffeId, CommandError> {
    let authority = open(&command.authority)?;
    let trust_domain = authority.trust_domain().clone();
    let cluster = command.cluster.clone();
    let id = match command.node.clone() {
        None => SpiffeId::gateway(trust_domain, cluster),
        Some(node) => SpiffeId::node(trust_domain, cluster, node),
    };
    let issued = authority.issue(&id, Validity::starting(now, command.valid_for))?;
    let files = [
        NewFile {
            name: KEY_FILE,
            text: &issued.key,
            mode: PRIVATE,
        },
        NewFile {
            name: CERTIFICATE_FILE,
            text: &issued.certificate,
            mode: PUBLIC,
        },
        NewFile {
            name: ANCHORS_FILE,
            text: authority.certificate_pem(),
            mode: PUBLIC,
        },
    ];
    write_all(&command.out, &files, command.force)?;
    Ok(id)
}

/// Reads the authority that [`init`] wrote.
pub fn open(dir: &Path) -> Result<Authority, CommandError> {
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).map_err(|source| CommandError::Read { path, source })
    };
    let certificate = read(ANCHORS_FILE)?;
    let key = read(AUTHORITY_KEY_FILE)?;
    Ok(Authority::from_pem(&certificate, &key)?)
}

/// Says what the certificates of a file are, or those of a directory's `cert.pem` and `ca.pem`.
pub fn inspect(path: &Path, now: SystemTime) -> Result<Vec<Inspection>, CommandError> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = [CERTIFICATE_FILE, ANCHORS_FILE]
            .map(|name| path.join(name))
            .into_iter()
            .filter(|file| file.exists())
            .collect();
        if files.is_empty() {
            files.push(path.join(CERTIFICATE_FILE));
        }
    }
    let mut found = Vec::new();
    for file in files {
        for der in certificates(&file)? {
            let inspection = inspect_one(&file, &der, now);
            found.push(inspection.map_err(|source| CommandError::Certificate {
                path: file.clone(),
                source,
            })?);
        }
    }
    Ok(found)
}

fn inspect_one(
    file: &Path,
    der: &CertificateDer<'_>,
    now: SystemTime,
) -> Result<Inspection, IdentityError> {
    let certificate = identity::parse(der)?;
    let not_before_unix_s = certificate.validity().not_before.timestamp();
    let not_after_unix_s = certificate.validity().not_after.timestamp();
    let now_unix_s = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    let problem = match identity::identity_of(std::slice::from_ref(der)) {
        Ok(_) | Err(IdentityError::Authority) => None,
        Err(error) => Some(error.to_string()),
    };
    Ok(Inspection {
        file: file.to_owned(),
        uri: identity::single_uri(&certificate).ok().map(str::to_owned),
        is_authority: certificate.is_ca(),
        issuer: certificate.issuer().to_string(),
        serial: certificate.raw_serial_as_string(),
        not_before_unix_s,
        not_after_unix_s,
        is_valid_now: (not_before_unix_s..=not_after_unix_s).contains(&now_unix_s),
        problem,
    })
}

#[cfg(test)]
mod tests;
