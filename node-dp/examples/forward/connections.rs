//! Connections and streams through a node port, against the same to the backend's own address through a node without one.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use node_dp::datapath::FastPath;
use serde_json::Value;

use crate::{
    Args, Found,
    network::{Host, ip},
    node::{NODE_PORT, Places, serve},
    text,
};

/// Where the backend answers connections, and streams.
const CONNECTIONS: u16 = 7000;
const STREAMS: u16 = 7001;

/// How long a server may take to begin.
const BEGUN_WITHIN: Duration = Duration::from_secs(20);

/// The node without programs, and the one with them, by the third number of their addresses.
const PLAIN: u8 = 1;
const SERVING: u8 = 2;

/// A server that ends when this goes.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Measures both.
pub(crate) fn measure(
    places: &Arc<Places>,
    load: &Path,
    args: &Args,
    found: &mut Found,
) -> anyhow::Result<()> {
    for (port, serve, dial, flag) in [
        (CONNECTIONS, "crr-serve", "crr", "--target"),
        (STREAMS, "stream-serve", "stream", "--path"),
    ] {
        let world = World::up(places, dial, port)?;
        let _server = world.serve(load, serve, port)?;
        let said = world.dial(load, (dial, flag), port, args)?;
        match dial {
            "crr" => found.connections = Some(said),
            _ => found.streams = Some(said),
        }
    }
    Ok(())
}

/// A client and a server, with two nodes between them.
struct World {
    client: Host,
    server: Host,
    _nodes: Vec<(Host, Option<node_dp::datapath::Datapath>)>,
}

impl World {
    fn up(places: &Arc<Places>, name: &'static str, port: u16) -> anyhow::Result<Self> {
        let (client, server) = (Host::alone(), Host::alone());
        let mut nodes = Vec::new();
        for number in [PLAIN, SERVING] {
            let node = Host::alone();
            let [near, far] = [format!("n{number}"), format!("s{number}")];
            node.join("in0", &client, &near);
            node.join("out0", &server, &far);
            node.run(move || {
                ip(&format!("address add 192.0.{number}.1/24 dev in0"));
                ip(&format!("address add 10.2.{number}.1/24 dev out0"));
                fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            });
            client.run(move || {
                ip(&format!("address add 192.0.{number}.2/24 dev n{number}"));
                ip(&format!(
                    "route add 10.2.{number}.0/24 via 192.0.{number}.1"
                ));
            });
            server.run(move || {
                ip(&format!("address add 10.2.{number}.2/24 dev s{number}"));
                ip(&format!(
                    "route add 192.0.{number}.0/24 via 10.2.{number}.1"
                ));
            });
            let datapath = match number {
                SERVING => {
                    let places = Arc::clone(places);
                    Some(node.run(move || -> anyhow::Result<_> {
                        let (mut datapath, _) =
                            places.open(name, &["in0", "out0"], FastPath::Off)?;
                        let here =
                            |subnet: [u8; 2]| Ipv4Addr::new(subnet[0], subnet[1], SERVING, 1);
                        let backend = (Ipv4Addr::new(10, 2, SERVING, 2), port);
                        let addresses = (here([192, 0]), here([10, 2]));
                        serve(&mut datapath, &[backend], addresses)?;
                        Ok(datapath)
                    })?)
                }
                _ => None,
            };
            nodes.push((node, datapath));
        }
        for host in [&client, &server] {
            // Closed connections are forgotten at once: the client's ports must come free again.
            host.run(|| fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0"))?;
        }
        Ok(Self {
            client,
            server,
            _nodes: nodes,
        })
    }

    fn serve(&self, load: &Path, what: &'static str, port: u16) -> anyhow::Result<Server> {
        let load: PathBuf = load.to_owned();
        let server = self.server.run(move || {
            Command::new(load)
                .args(["load", what, "--listen", &format!("0.0.0.0:{port}")])
                .stdin(Stdio::null())
                .spawn()
        })?;
        let server = Server(server);
        let direct = direct(port);
        let deadline = Instant::now() + BEGUN_WITHIN;
        while self
            .client
            .run(move || std::net::TcpStream::connect(direct).is_err())
        {
            ensure!(Instant::now() < deadline, "the server does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Dials the backend directly, through the node port, and directly again.
    fn dial(
        &self,
        load: &Path,
        (what, flag): (&'static str, &'static str),
        port: u16,
        args: &Args,
    ) -> anyhow::Result<Value> {
        let load = text(load).to_owned();
        let node_port = SocketAddr::from(([192, 0, SERVING, 1], NODE_PORT));
        let mut argv = vec![
            "load".to_owned(),
            what.to_owned(),
            format!("--rounds={}", args.rounds),
            format!("--round-ms={}", args.round_ms),
        ];
        for target in [direct(port), node_port, direct(port)] {
            argv.push(format!("{flag}={target}"));
        }
        let output = self
            .client
            .run(move || Command::new(load).args(argv).output())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the load failed: {}", said.trim());
        serde_json::from_slice(&output.stdout).context("reading the load's rounds")
    }
}

fn direct(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 2, PLAIN, 2], port))
}
