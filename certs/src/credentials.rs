//! What a daemon proves itself with: its certificate chain, its key, and the anchors that it believes.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{RootCertStore, pki_types::pem, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::identity::{IdentityError, SpiffeId, identity_of};

/// The file with the trust anchors, in a credentials directory.
pub const ANCHORS_FILE: &str = "ca.pem";

/// The file with the holder's certificate.
pub const CERTIFICATE_FILE: &str = "cert.pem";

/// The file with the holder's private key.
pub const KEY_FILE: &str = "key.pem";

/// The permission bit of everybody else.
const OTHERS_READ: u32 = 0o004;

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds no PEM of the wanted kind.
    #[error("{path} is not PEM of the kind expected there")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Everybody on the machine can read the key.
    #[error("{0} can be read by everybody: run chmod 600 on it")]
    KeyIsPublic(PathBuf),
    /// The certificate does not say who its holder is.
    #[error("{path} is no certificate of a gateway or an agent")]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: IdentityError,
    },
    /// A trust anchor cannot verify anybody.
    #[error("{path} has a certificate that is no trust anchor")]
    Anchor {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The key is unusable or another certificate's.
    #[error("{path} does not belong to the certificate beside it")]
    KeyMismatch {
        /// The key's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate chain with its key, and the trust anchors.
///
/// All is parsed once; what a handshake believes and for how long is judged anew in each.
pub struct Credentials {
    id: SpiffeId,
    roots: Arc<RootCertStore>,
    certified: Arc<CertifiedKey>,
}

impl Credentials {
    /// Reads `ca.pem`, `cert.pem` and `key.pem` of a directory, and checks that they belong together.
    ///
    /// Expiry is not checked here: the other side judges it by its own clock in each handshake.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        let key_path = dir.join(KEY_FILE);
        check_mode(&key_path)?;
        let key_pem = read(&key_path)?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|source| LoadError::Pem {
            path: key_path.clone(),
            source,
        })?;
        let certificate_path = dir.join(CERTIFICATE_FILE);
        let chain = certificates(&certificate_path)?;
        let id = identity_of(&chain).map_err(|source| LoadError::Identity {
            path: certificate_path,
            source,
        })?;
        let certified = CertifiedKey::from_der(chain, key, &crate::tls::provider());
        let certified = certified.map_err(|source| LoadError::KeyMismatch {
            path: key_path,
            source,
        })?;
        let anchors_path = dir.join(ANCHORS_FILE);
        let mut roots = RootCertStore::empty();
        for anchor in certificates(&anchors_path)? {
            roots.add(anchor).map_err(|source| LoadError::Anchor {
                path: anchors_path.clone(),
                source,
            })?;
        }
        Ok(Self {
            id,
            roots: Arc::new(roots),
            certified: Arc::new(certified),
        })
    }

    /// Credentials that need not fit together.
    #[cfg(test)]
    pub(crate) fn from_parts(
        id: SpiffeId,
        anchors: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for anchor in anchors {
            roots.add(anchor).unwrap();
        }
        let keys = crate::tls::provider().key_provider;
        let certified = CertifiedKey::new(chain, keys.load_private_key(key).unwrap());
        Self {
            id,
            roots: Arc::new(roots),
            certified: Arc::new(certified),
        }
    }

    /// Who the holder is.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The certificates that every peer's chain must end in.
    pub(crate) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// The holder's own certificate first, then its issuers but the anchor, with the private key.
    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// All certificates of a PEM file, of which there must be one at least.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let text = read(path)?;
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let bad = |source| LoadError::Pem {
        path: path.to_owned(),
        source,
    };
    let all = all.map_err(bad)?;
    if all.is_empty() {
        return Err(bad(pem::Error::NoItemsFound));
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    fs::read(path).map_err(|source| LoadError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Refuses a key that everybody can read; a group may, for Kubernetes gives mounted secrets to one.
fn check_mode(path: &Path) -> Result<(), LoadError> {
    let metadata = fs::metadata(path).map_err(|source| LoadError::Io {
        path: path.to_owned(),
        source,
    })?;
    if metadata.permissions().mode() & OTHERS_READ != 0 {
        return Err(LoadError::KeyIsPublic(path.to_owned()));
    }
    Ok(())
}
