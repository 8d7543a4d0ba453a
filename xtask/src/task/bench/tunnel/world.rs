//! Two namespaces, the link between them, and the tunnels over it; all are removed when this is dropped.

mod process;

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use multicluster::wait_until;

use crate::task::{
    command::{command, output, run, target_dir},
    load::StreamRound,
};
pub(crate) use process::{Opened, Process};
use process::{open_tunnel, start};

/// Where the server listens.
const PORT: u16 = 5201;

/// How long a program may take to begin.
const BEGUN_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

/// A namespace: where the client is, or the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Near,
    Far,
}

const SIDES: [Side; 2] = [Side::Near, Side::Far];

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }

    fn core(self) -> &'static str {
        match self {
            Self::Near => "0",
            Self::Far => "1",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }

    /// Its address on a path.
    fn address(self, path: PathKind) -> Ipv4Addr {
        let host = match self {
            Self::Near => 1,
            Self::Far => 2,
        };
        match path {
            PathKind::Link => Ipv4Addr::new(192, 0, 2, host),
            PathKind::Tunnel => Ipv4Addr::new(10, 91, 0, host),
            PathKind::Boringtun => Ipv4Addr::new(10, 92, 0, host),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathKind {
    Link,
    Tunnel,
    Boringtun,
}

/// A tunnel whose peers are all there.
pub(crate) struct Crowded {
    pub(crate) device: Opened,
    /// Kept for its end.
    _crowd: Process,
}

/// The namespaces and what runs in them.
pub(crate) struct World {
    prefix: String,
    folder: PathBuf,
    load: PathBuf,
    tunnels: Vec<Process>,
    boringtuns: Vec<Process>,
    /// Kept for its end: the server.
    _server: Option<Process>,
}

impl World {
    /// Joins two namespaces by a veth and starts the server in the far one.
    pub(crate) fn up(load: &Path) -> anyhow::Result<Self> {
        sweep()?;
        let prefix = format!("ist-bench-{}", std::process::id());
        let folder = target_dir().join("bench").join(&prefix);
        let mut world = Self {
            prefix,
            folder,
            load: load.to_owned(),
            tunnels: Vec::new(),
            boringtuns: Vec::new(),
            _server: None,
        };
        fs::create_dir_all(&world.folder).context("making the bench's folder")?;
        for side in SIDES {
            run(command("ip").args(["netns", "add", &world.netns(side)]))?;
        }
        let far = world.netns(Side::Far);
        let veth = ["link", "add", "u0", "type", "veth", "peer", "name", "u0"];
        world.ip(Side::Near, &[&veth[..], &["netns", &far]].concat())?;
        for side in SIDES {
            let address = format!("{}/24", side.address(PathKind::Link));
            world.ip(side, &["link", "set", "lo", "up"])?;
            world.ip(side, &["addr", "add", &address, "dev", "u0"])?;
            world.ip(side, &["link", "set", "u0", "up"])?;
            for path in [PathKind::Tunnel, PathKind::Boringtun] {
                let address = format!("{}/32", side.address(path));
                world.ip(side, &["addr", "add", &address, "dev", "lo"])?;
            }
        }
        let mut server = world.inside(Side::Far, load);
        server.args([
            "load",
            "stream-serve",
            "--listen",
            &format!("0.0.0.0:{PORT}"),
        ]);
        world._server = Some(start(&mut server)?);
        world.wait_for_path(PathKind::Link)?;
        Ok(world)
    }

    /// Opens the embedded WireGuard on both sides.
    pub(crate) fn open_tunnels(&mut self, program: &Path) -> anyhow::Result<()> {
        let mut keys = Vec::new();
        for side in SIDES {
            let mut show = command(program);
            show.arg("--state-dir").arg(self.folder.join(side.name()));
            keys.push(output(show.arg("--show-key"))?.trim().to_owned());
        }
        let peers_keys = keys.iter().rev();
        for (side, key) in SIDES.into_iter().zip(peers_keys) {
            let other = side.other();
            let mut open = self.inside(side, program);
            open.arg("--state-dir").arg(self.folder.join(side.name()));
            open.arg("--peer").arg(format!(
                "{key}@{}:51872={}/32",
                other.address(PathKind::Link),
                other.address(PathKind::Tunnel)
            ));
            self.tunnels.push(open_tunnel(&mut open)?.process);
        }
        self.wait_for_path(PathKind::Tunnel)
    }

    /// Opens one more on a side, with peers that do not answer.
    pub(crate) fn open_with_absent_peers(
        &self,
        side: Side,
        program: &Path,
        count: u32,
    ) -> anyhow::Result<Opened> {
        let mut open = self.inside(side, program);
        open.arg("--state-dir").arg(self.folder.join("absent"));
        open.args(["--device", "many0", "--port", "51874"]);
        open_tunnel(open.args(["--absent-peers", &count.to_string()]))
    }

    /// Opens one more on a side, with peers that all answer from the other and send nothing; an error where the kernel has no
    /// WireGuard and its own is asked for.
    pub(crate) fn open_with_crowd(
        &self,
        side: Side,
        program: &Path,
        (count, mode): (u32, &str),
    ) -> anyhow::Result<Crowded> {
        let folder = self.folder.join(format!("crowded-{mode}"));
        let mut show = command(program);
        let key = output(show.arg("--state-dir").arg(&folder).arg("--show-key"))?;
        let count = count.to_string();
        let mut be = self.inside(side.other(), program);
        be.arg("--state-dir").arg(&folder);
        be.args(["--crowd-peers", &count, "--be-crowd-of", key.trim()]);
        be.args(["--crowd-at", "0.0.0.0"]);
        let crowd = start(&mut be)?;
        let at = side.other().address(PathKind::Link).to_string();
        let mut open = self.inside(side, program);
        open.arg("--state-dir").arg(&folder).args(["--mode", mode]);
        open.args(["--device", "crowd0", "--port", "51875"]);
        open.args(["--crowd-peers", &count, "--crowd-at", &at]);
        let mut opened = open_tunnel(&mut open)?;
        opened.said_more()?;
        Ok(Crowded {
            device: opened,
            _crowd: crowd,
        })
    }

    /// Opens boringtun-cli on both sides, with one thread, as more are slower.
    pub(crate) fn open_boringtuns(&mut self, program: &Path) -> anyhow::Result<()> {
        let mut keys = Vec::new();
        for side in SIDES {
            let file = self.key_file(side);
            let private = output(command("wg").arg("genkey"))?;
            fs::write(&file, &private).context("writing a key")?;
            keys.push(public_key(&private)?);
        }
        let peers_keys = keys.iter().rev();
        for (side, key) in SIDES.into_iter().zip(peers_keys) {
            self.open_boringtun(program, side, key)?;
        }
        self.wait_for_path(PathKind::Boringtun)
    }

    fn open_boringtun(&mut self, program: &Path, side: Side, peer: &str) -> anyhow::Result<()> {
        // The socket that configures it is outside of namespaces, and so is its name.
        let device = format!("ist-bt-{}", side.name());
        let mut open = self.inside(side, program);
        open.args([
            "--foreground",
            "--disable-drop-privileges",
            "--threads",
            "1",
        ]);
        self.boringtuns.push(start(open.arg(&device))?);
        let other = side.other();
        let endpoint = format!("{}:51873", other.address(PathKind::Link));
        let allowed = format!("{}/32", other.address(PathKind::Boringtun));
        let mut set = self.inside(side, Path::new("wg"));
        set.args(["set", &device, "listen-port", "51873", "private-key"]);
        set.arg(self.key_file(side));
        set.args(["peer", peer, "endpoint", &endpoint, "allowed-ips", &allowed]);
        set.stderr(Stdio::null());
        wait_until(
            BEGUN_WITHIN,
            "boringtun-cli takes its configuration",
            || Ok(set.status().context("running `wg`")?.success()),
        )?;
        self.ip(side, &["link", "set", &device, "mtu", "1420", "up"])?;
        let own = side.address(PathKind::Boringtun).to_string();
        self.ip(
            side,
            &["route", "add", &allowed, "dev", &device, "src", &own],
        )
    }

    /// Measures all paths in turn: the link, the tunnel, boringtun if it stands, and the link again.
    pub(crate) fn stream(
        &self,
        with_boringtun: bool,
        quick: bool,
    ) -> anyhow::Result<Vec<Vec<StreamRound>>> {
        let (rounds, round_ms) = if quick { ("5", "500") } else { ("25", "1000") };
        let mut client = self.inside(Side::Near, &self.load);
        client.args(["load", "stream", "--rounds", rounds, "--round-ms", round_ms]);
        let mut paths = vec![(PathKind::Link, &[][..]), (PathKind::Tunnel, &self.tunnels)];
        if with_boringtun {
            paths.push((PathKind::Boringtun, &self.boringtuns));
        }
        paths.push((PathKind::Link, &[]));
        for (path, carriers) in paths {
            let address = SocketAddr::from((Side::Far.address(path), PORT));
            let carriers: Vec<String> = carriers.iter().map(|p| p.id().to_string()).collect();
            client.arg("--path");
            client.arg(format!("{address}={}", carriers.join(",")));
        }
        serde_json::from_str(&output(&mut client)?).context("reading the client's rounds")
    }

    fn wait_for_path(&self, path: PathKind) -> anyhow::Result<()> {
        let address = format!("{}:{PORT}", Side::Far.address(path));
        let mut client = self.inside(Side::Near, &self.load);
        client.args([
            "load",
            "stream",
            "--rounds",
            "1",
            "--round-ms",
            "10",
            "--path",
        ]);
        client
            .arg(&address)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        wait_until(BEGUN_WITHIN, &format!("{path:?} carries traffic"), || {
            Ok(client.status().context("running the client")?.success())
        })
    }

    /// A command in a side's namespace, on its core, that ends with this program.
    fn inside(&self, side: Side, program: &Path) -> Command {
        let mut inside = command("setpriv");
        inside.args(["--pdeathsig", "KILL", "ip", "netns", "exec"]);
        inside.args([&self.netns(side), "taskset", "-c", side.core()]);
        inside.arg(program);
        inside
    }

    fn ip(&self, side: Side, args: &[&str]) -> anyhow::Result<()> {
        output(command("ip").args(["-n", &self.netns(side)]).args(args)).map(drop)
    }

    fn netns(&self, side: Side) -> String {
        format!("{}-{}", self.prefix, side.name())
    }

    fn key_file(&self, side: Side) -> PathBuf {
        self.folder.join(format!("boringtun-{}.key", side.name()))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What is gone already need not be removed.
        for side in SIDES {
            output(command("ip").args(["netns", "del", &self.netns(side)])).ok();
        }
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Removes the namespaces of benches that were killed.
fn sweep() -> anyhow::Result<()> {
    for line in output(command("ip").args(["netns", "list"]))?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name
            .strip_prefix("ist-bench-")
            .and_then(|rest| rest.split_once('-'));
        let Some((owner, _)) = owner else {
            continue;
        };
        if !Path::new("/proc").join(owner).exists() {
            output(command("ip").args(["netns", "del", name]))?;
        }
    }
    Ok(())
}

/// The public half of a key, as `wg` computes it.
fn public_key(private: &str) -> anyhow::Result<String> {
    let mut child = command("wg")
        .arg("pubkey")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("running `wg`")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(private.as_bytes())
            .context("giving a key")?;
    }
    let output = child.wait_with_output().context("waiting for `wg`")?;
    ensure!(output.status.success(), "`wg pubkey` refused the key");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
