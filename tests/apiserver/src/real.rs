//! A real API server: `etcd` and `kube-apiserver` on loopback with a temporary directory, as envtest runs them.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::server::Settings;

/// Names the folder with both programs.
pub(crate) const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// How long the API server may take to say that it is ready.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How often a starting server is asked whether it is ready.
const START_POLL: Duration = Duration::from_millis(100);

/// Who the tests are.
const TOKEN: &str = "isthmus-test-token";

/// The running programs; they end when this is dropped.
#[derive(Debug)]
pub struct RealServer {
    address: SocketAddr,
    etcd: Child,
    api_server: Child,
    _dir: TempDir,
}

impl RealServer {
    /// Starts both programs from a folder and waits until the server is ready.
    pub async fn start(assets: &Path, settings: &Settings) -> anyhow::Result<Self> {
        let mut dir = tempfile::Builder::new();
        dir.prefix("ist-envtest-");
        // A killed server removes nothing: what is in the folder goes with the folder.
        let dir = match &settings.data {
            Some(folder) => std::fs::create_dir_all(folder).and_then(|()| dir.tempdir_in(folder)),
            None => dir.tempdir(),
        };
        let dir = dir.context("making a directory for etcd")?;
        let (client, peer) = (free_address()?, free_address()?);
        let address = match settings.listen {
            any if any.port() == 0 => free_address()?,
            given => given,
        };
        let mut etcd = program(assets, "etcd", dir.path())?;
        let data = settings.data.as_deref().unwrap_or_else(|| dir.path());
        etcd.arg("--data-dir").arg(data.join("etcd"));
        etcd.arg(format!("--listen-client-urls=http://{client}"));
        etcd.arg(format!("--advertise-client-urls=http://{client}"));
        etcd.arg(format!("--listen-peer-urls=http://{peer}"));
        etcd.arg("--unsafe-no-fsync");
        let etcd = etcd.spawn().context("starting etcd")?;
        let mut server = program(assets, "kube-apiserver", dir.path())?;
        let ranges = settings.service_cidrs.iter();
        let ranges: Vec<_> = ranges
            .map(|(first, length)| format!("{first}/{length}"))
            .collect();
        server.args(server_flags(dir.path(), client, address)?);
        server.arg(format!("--service-cluster-ip-range={}", ranges.join(",")));
        let server = server.spawn().context("starting kube-apiserver")?;
        let mut started = Self {
            address,
            etcd,
            api_server: server,
            _dir: dir,
        };
        started.until_ready().await?;
        Ok(started)
    }

    /// A kubeconfig that leads to it, as somebody who may do everything.
    pub fn kubeconfig(&self) -> Value {
        let server = format!("https://{}", self.address);
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "envtest",
            "clusters": [{"name": "envtest", "cluster": {"server": server, "insecure-skip-tls-verify": true}}],
            "users": [{"name": "envtest", "user": {"token": TOKEN}}],
            "contexts": [{"name": "envtest", "context": {"cluster": "envtest", "user": "envtest"}}]})
    }

    /// The port opens once the server has its storage; clients retry what little comes after that.
    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(status) = self.api_server.try_wait()? {
                bail!("kube-apiserver ended with {status} before it was ready");
            }
            if TcpStream::connect(self.address).await.is_ok() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("kube-apiserver was not ready after {START_DEADLINE:?}");
            }
            sleep(START_POLL).await;
        }
    }

    /// Ends both programs and waits for that.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for child in [&mut self.api_server, &mut self.etcd] {
            child.start_kill().context("ending a program")?;
            timeout(START_DEADLINE, child.wait())
                .await
                .context("waiting for a program's end")??;
        }
        Ok(())
    }
}

/// The folder that the environment names, if it does.
pub(crate) fn assets() -> Option<PathBuf> {
    let folder = std::env::var_os(ASSETS_VARIABLE)?;
    (!folder.is_empty()).then(|| folder.into())
}

fn program(assets: &Path, name: &str, dir: &Path) -> anyhow::Result<Command> {
    let path = assets.join(name);
    if !path.is_file() {
        bail!(
            "{ASSETS_VARIABLE} names {}, where no program {name} is",
            assets.display()
        );
    }
    let log = File::create(dir.join(format!("{name}.log"))).context("making a log file")?;
    let mut command = Command::new(path);
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("sharing a log file")?)
        .stderr(log)
        .kill_on_drop(true);
    Ok(command)
}

fn server_flags(dir: &Path, etcd: SocketAddr, address: SocketAddr) -> anyhow::Result<Vec<String>> {
    let key = dir.join("service-account.key");
    let pair = rcgen::KeyPair::generate().context("making the service accounts' key")?;
    std::fs::write(&key, pair.serialize_pem()).context("writing the service accounts' key")?;
    let tokens = dir.join("tokens.csv");
    std::fs::write(&tokens, format!("{TOKEN},test,test,system:masters\n"))
        .context("writing the tokens")?;
    Ok(vec![
        format!("--etcd-servers=http://{etcd}"),
        format!("--bind-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        format!("--cert-dir={}", dir.join("certs").display()),
        format!("--token-auth-file={}", tokens.display()),
        format!("--service-account-key-file={}", key.display()),
        format!("--service-account-signing-key-file={}", key.display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--authorization-mode=AlwaysAllow".to_owned(),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ])
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
    listener.local_addr().context("finding a free port")
}
