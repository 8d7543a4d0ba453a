//! The embedded WireGuard against another implementation, boringtun-cli, in both roles of the handshake.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    net::{Node, Pair, eventually},
    *,
};

/// Where the other listens.
const PORT: u16 = 51_873;

#[test]
#[ignore = "needs root"]
fn traffic_passes_with_boringtun_that_shakes_hands_first() {
    interoperate("btfirst", true);
}

#[test]
#[ignore = "needs root"]
fn traffic_passes_with_boringtun_that_is_spoken_to() {
    interoperate("btafter", false);
}

fn interoperate(name: &str, is_first: bool) {
    let program = boringtun();
    let mut pair = Pair::up(name);
    pair.b.close_tunnel();
    let other = Other::start(&program, &pair, is_first);
    let mut peer = pair.b.as_peer();
    // Whom it does not know how to reach, it cannot speak to first.
    let port = if is_first { 9 } else { PORT };
    peer.endpoint.set_port(port);
    pair.a.configure(
        BTreeMap::from([(peer.public_key, peer)]),
        pair.a.routes_to(&pair.b),
    );

    eventually(Duration::from_secs(10), || {
        let (node, far) = if is_first {
            (&pair.b, &pair.a)
        } else {
            (&pair.a, &pair.b)
        };
        node.ask_udp(far, far.pods[0])
    });
    for (client, server) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        for address in server.pods {
            client.ping(address);
            assert_eq!(client.ask_udp(server, address), Some(b"datagram".to_vec()));
            let sent = 3_000_000;
            assert_eq!(client.ask_tcp(server, address, sent), Some(sent));
        }
    }
    let endpoint = pair.a.stats()[&pair.b.public_key()].endpoint;
    assert_eq!(endpoint, Some(SocketAddr::new(pair.b.underlay, PORT)));
    drop(other);
}

/// A running boringtun-cli in the second node's place.
struct Other(Child);

impl Other {
    fn start(program: &Path, pair: &Pair, is_first: bool) -> Self {
        let device = format!("ist-bt{}{}", std::process::id(), u8::from(is_first));
        let child = inside(&pair.b, program)
            .args([
                "--foreground",
                "--disable-drop-privileges",
                "--threads",
                "1",
            ])
            .arg(&device)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let other = Self(child);
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        fs::write(&key, STANDARD.encode(pair.b.private_key().to_bytes())).unwrap();
        let port = PORT.to_string();
        let public = STANDARD.encode(pair.a.public_key().0);
        let endpoint = endpoint(&pair.a).to_string();
        let prefixes: Vec<String> = prefixes(&pair.a).iter().map(ToString::to_string).collect();
        let prefixes = prefixes.join(",");
        eventually(Duration::from_secs(10), || {
            let mut set = inside(&pair.b, Path::new("wg"));
            set.args(["set", &device, "listen-port", &port, "private-key"]);
            set.arg(&key);
            set.args(["peer", &public, "allowed-ips", &prefixes]);
            if is_first {
                set.args(["endpoint", &endpoint, "persistent-keepalive", "1"]);
            }
            let status = set.stderr(Stdio::null()).status().unwrap();
            status.success().then_some(())
        });
        pair.b.ip(&["link", "set", &device, "mtu", "1420", "up"]);
        for prefix in super::prefixes(&pair.a) {
            let family = if prefix.addr().is_ipv4() { "-4" } else { "-6" };
            let prefix = prefix.to_string();
            pair.b
                .ip(&[family, "route", "replace", &prefix, "dev", &device]);
        }
        other
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn inside(node: &Node, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", node.netns()]).arg(program);
    command
}

/// The program, which is installed if it is missing; without it, or `wg`, the test fails, as it would show nothing.
fn boringtun() -> PathBuf {
    let wg = Command::new("wg").arg("--version").output();
    wg.expect("`wg` is missing: `cargo xtask setup` installs it");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let root = target.join("tools");
    let program = root.join("bin/boringtun-cli");
    if !program.is_file() {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut install = Command::new(cargo);
        install.args(["install", "--quiet", "--locked", "boringtun-cli@0.7.1"]);
        let status = install.arg("--root").arg(&root).status().unwrap();
        assert!(status.success(), "installing boringtun-cli: {status}");
    }
    program
}
