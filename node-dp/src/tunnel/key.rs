//! The node's WireGuard key: made on the node, kept in its state directory for nobody else, never sent anywhere.

use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cluster_registry::node::PublicKey;
use gotatun::x25519;

/// The file in the state directory; its text is what `wg genkey` prints.
const FILE: &str = "wireguard.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The file can be read by others.
    #[error("{} may be read by others (mode {mode:o}): chmod 600 it, or remove it to have a new key made", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key.
    #[error("{} is not a WireGuard key: remove it to have a new one made", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// A WireGuard private key.
#[derive(Clone)]
pub struct PrivateKey(x25519::StaticSecret);

impl PrivateKey {
    /// Makes a new key.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            return Err(KeyError::NoRandomness);
        }
        Ok(Self::from_bytes(bytes))
    }

    /// The key of these 32 bytes; they are clamped (RFC 7748, section 5) so that what is stored is what is used.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        bytes[0] &= 248;
        bytes[31] &= 127;
        bytes[31] |= 64;
        Self(x25519::StaticSecret::from(bytes))
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519::PublicKey::from(&self.0).to_bytes())
    }

    /// The secret as the embedded WireGuard takes it.
    pub(super) fn secret(&self) -> x25519::StaticSecret {
        self.0.clone()
    }

    /// The secret as the kernel takes it.
    pub(super) fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public_key())
    }
}

pub(super) fn load_or_create(state_dir: &Path) -> Result<PrivateKey, KeyError> {
    let path = state_dir.join(FILE);
    let failed = |source| KeyError::Io {
        path: path.clone(),
        source,
    };
    match fs::read_to_string(&path) {
        Ok(text) => load(&path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = PrivateKey::generate()?;
            store(state_dir, &path, &key).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Keeps a key in the place of the former one.
pub(super) fn replace(state_dir: &Path, key: &PrivateKey) -> Result<(), KeyError> {
    let path = state_dir.join(FILE);
    store(state_dir, &path, key).map_err(|source| KeyError::Io { path, source })
}

/// How long ago the key was stored; nothing if that cannot be known, or lies ahead.
pub(super) fn age(state_dir: &Path) -> Duration {
    let stored = fs::metadata(state_dir.join(FILE)).and_then(|file| file.modified());
    stored
        .ok()
        .and_then(|stored| stored.elapsed().ok())
        .unwrap_or_default()
}

fn load(path: &Path, text: &str) -> Result<PrivateKey, KeyError> {
    let metadata = fs::metadata(path).map_err(|source| KeyError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    STANDARD
        .decode(text.trim())
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .map(PrivateKey::from_bytes)
        .ok_or_else(|| KeyError::Malformed {
            path: path.to_owned(),
        })
}

/// Writes beside the file and renames, so that a crash leaves a whole key or none.
fn store(state_dir: &Path, path: &Path, key: &PrivateKey) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)?;
    let partial = path.with_extension("partial");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    writeln!(file, "{}", STANDARD.encode(key.to_bytes()))?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().join("state");

        let made = load_or_create(&state_dir).unwrap();
        let found = load_or_create(&state_dir).unwrap();

        assert_eq!(made.public_key(), found.public_key());
        let mode = fs::metadata(state_dir.join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_replaced_key_is_found_again_and_is_young() {
        let dir = tempfile::tempdir().unwrap();
        let former = load_or_create(dir.path()).unwrap();
        let next = PrivateKey::generate().unwrap();

        replace(dir.path(), &next).unwrap();

        let found = load_or_create(dir.path()).unwrap();
        assert_eq!(found.public_key(), next.public_key());
        assert_ne!(found.public_key(), former.public_key());
        assert!(age(dir.path()) < Duration::from_secs(60));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        fs::set_permissions(dir.path().join(FILE), fs::Permissions::from_mode(0o640)).unwrap();

        assert!(matches!(
            load_or_create(dir.path()),
            Err(KeyError::Exposed { mode: 0o640, .. })
        ));
    }

    #[test]
    fn a_file_that_is_no_key_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, "not a key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

        assert!(matches!(
            load_or_create(dir.path()),
            Err(KeyError::Malformed { .. })
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a key");
    }

    #[test]
    fn the_public_key_of_a_known_secret_is_the_known_one() {
        // RFC 7748, section 6.1: Alice's pair.
        let secret = [
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2,
            0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5,
            0x1d, 0xb9, 0x2c, 0x2a,
        ];

        let text = PrivateKey::from_bytes(secret).public_key().to_string();

        assert_eq!(
            text,
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
        );
    }

    #[test]
    fn a_secret_never_shows_in_debug_output() {
        let key = PrivateKey::from_bytes([9; 32]);

        assert!(!format!("{key:?}").contains(&STANDARD.encode(key.to_bytes())));
        assert!(format!("{key:?}").starts_with("PrivateKey(of "));
    }
}
