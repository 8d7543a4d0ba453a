//! The commands, on files.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, time::UNIX_EPOCH};

use tempfile::TempDir;

use super::*;
use crate::credentials::Credentials;

#[test]
fn credentials_that_were_issued_can_be_loaded() {
    let files = Files::new();
    files.init(false).unwrap();

    let gateway = files.issue(None, false).unwrap();
    assert_eq!(gateway.to_string(), "spiffe://td/cluster/east/gateway");
    assert_eq!(Credentials::load(&files.out()).unwrap().id(), &gateway);

    let node = files
        .issue(Some(NodeName::parse("n1").unwrap()), true)
        .unwrap();
    assert_eq!(node.to_string(), "spiffe://td/cluster/east/node/n1");
    assert_eq!(Credentials::load(&files.out()).unwrap().id(), &node);
}

#[test]
fn keys_are_for_their_owner_alone() {
    let files = Files::new();
    files.init(false).unwrap();
    files.issue(None, false).unwrap();

    for key in [
        files.authority().join(AUTHORITY_KEY_FILE),
        files.out().join(KEY_FILE),
    ] {
        assert_eq!(mode(&key), 0o600, "{}", key.display());
    }
    assert_eq!(mode(&files.out().join(CERTIFICATE_FILE)), 0o644);
}

#[test]
fn an_existing_authority_is_replaced_only_by_force() {
    let files = Files::new();
    let first = files.init(false).unwrap();

    let refused = files.init(false);
    assert!(matches!(
        refused,
        Err(CommandError::Write(WriteError::Exists(_)))
    ));
    let kept = open(&files.authority()).unwrap();
    assert_eq!(kept.certificate_pem(), first.certificate_pem());

    files.init(true).unwrap();
    let replaced = open(&files.authority()).unwrap();
    assert_ne!(replaced.certificate_pem(), first.certificate_pem());
}

#[test]
fn nothing_is_written_when_one_file_exists() {
    let files = Files::new();
    files.init(false).unwrap();
    fs::create_dir_all(files.out()).unwrap();
    fs::write(files.out().join(ANCHORS_FILE), "mine").unwrap();

    assert!(files.issue(None, false).is_err());

    assert!(!files.out().join(KEY_FILE).exists());
    assert_eq!(
        fs::read_to_string(files.out().join(ANCHORS_FILE)).unwrap(),
        "mine"
    );
}

#[test]
fn a_key_that_everybody_reads_is_refused() {
    let files = Files::new();
    files.init(false).unwrap();
    files.issue(None, false).unwrap();
    let key = files.out().join(KEY_FILE);

    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    assert!(Credentials::load(&files.out()).is_ok());
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        Credentials::load(&files.out()),
        Err(LoadError::KeyIsPublic(_))
    ));
}

#[test]
fn another_certificates_key_is_refused() {
    let files = Files::new();
    files.init(false).unwrap();
    files.issue(None, false).unwrap();
    let certificate = fs::read(files.out().join(CERTIFICATE_FILE)).unwrap();
    files.issue(None, true).unwrap();

    fs::write(files.out().join(CERTIFICATE_FILE), certificate).unwrap();

    assert!(matches!(
        Credentials::load(&files.out()),
        Err(LoadError::KeyMismatch { .. })
    ));
}

#[test]
fn missing_and_malformed_files_are_named() {
    let files = Files::new();
    assert!(matches!(
        open(&files.authority()),
        Err(CommandError::Read { path, .. }) if path.ends_with(ANCHORS_FILE)
    ));
    files.init(false).unwrap();
    files.issue(None, false).unwrap();

    for name in [ANCHORS_FILE, CERTIFICATE_FILE, KEY_FILE] {
        let path = files.out().join(name);
        let good = fs::read(&path).unwrap();
        fs::write(&path, "no pem").unwrap();
        let error = Credentials::load(&files.out()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        fs::remove_file(&path).unwrap();
        let error = Credentials::load(&files.out()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        fs::write(&path, good).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    assert!(Credentials::load(&files.out()).is_ok());
}

#[test]
fn inspection_says_whose_a_certificate_is_and_until_when() {
    let files = Files::new();
    files.init(false).unwrap();
    files.issue(None, false).unwrap();

    let found = inspect(&files.out(), now()).unwrap();

    let uris: Vec<_> = found.iter().map(|one| one.uri.as_deref()).collect();
    let expected = ["spiffe://td/cluster/east/gateway", "spiffe://td"].map(Some);
    assert_eq!(uris, expected);
    assert!(
        found
            .iter()
            .all(|one| one.is_valid_now && one.problem.is_none())
    );
    assert!(!found[0].is_authority && found[1].is_authority);
    assert_eq!(found[0].not_after_unix_s, 1_800_003_600);
    assert_eq!(found[0].issuer, "CN=Isthmus CA of td");
    let later = inspect(&files.out(), now() + Duration::from_secs(3601)).unwrap();
    assert!(!later[0].is_valid_now && later[1].is_valid_now);
}

/// A directory for an authority and one for credentials, both removed at the end.
struct Files {
    dir: TempDir,
    trust_domain: TrustDomain,
    cluster: ClusterName,
}

impl Files {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            trust_domain: TrustDomain::parse("td").unwrap(),
            cluster: ClusterName::parse("east").unwrap(),
        }
    }

    fn authority(&self) -> PathBuf {
        self.dir.path().join("authority")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn init(&self, force: bool) -> Result<Authority, CommandError> {
        let command = Init {
            dir: self.authority(),
            trust_domain: self.trust_domain.clone(),
            valid_for: Duration::from_secs(24 * 3600),
            force,
        };
        init(&command, now())
    }

    fn issue(&self, node: Option<NodeName>, force: bool) -> Result<SpiffeId, CommandError> {
        let command = Issue {
            authority: self.authority(),
            cluster: self.cluster.clone(),
            node,
            out: self.out(),
            valid_for: Duration::from_secs(3600),
            force,
        };
        issue(&command, now())
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
