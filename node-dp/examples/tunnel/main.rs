//! Opens a tunnel device with peers given by hand, without a gateway: to try one out, and to measure it.
//!
//! It prints a line of JSON when the device is open and its peers are configured, one more when the peers that answer have
//! all done so, and runs until its standard input ends.

mod crowd;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser as _;
use cluster_registry::{
    name::{ClusterName, NodeName},
    node::PublicKey,
};
use node_dp::tunnel::{self, Mode, PeerStats, Tunnel, TunnelConfig};
use node_dp_core::tunnel::{WantedPeer, inside::InsidePlan};

/// How often one peer is changed to measure that, and how long is waited in between.
const CHANGES: u32 = 20;
const BETWEEN_CHANGES: Duration = Duration::from_millis(20);

/// How long a crowd may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// What to open.
#[derive(Debug, clap::Parser)]
struct Args {
    /// The folder of the node's key, which is made if there is none.
    #[arg(long)]
    state_dir: PathBuf,
    /// Prints the public key and ends.
    #[arg(long)]
    show_key: bool,
    /// The device.
    #[arg(long, default_value = "isthmus0")]
    device: String,
    /// The UDP port.
    #[arg(long, default_value_t = 51_872)]
    port: u16,
    /// The largest MTU inside the tunnel.
    #[arg(long, default_value_t = tunnel::MAX_MTU)]
    mtu: u16,
    /// 'auto', 'kernel' or 'userspace'.
    #[arg(long, default_value = "userspace")]
    mode: Mode,
    /// A peer: KEY@ENDPOINT=PREFIX,PREFIX..., the key as `wg` shows it
    #[arg(long)]
    peer: Vec<Peer>,
    /// So many more peers that nobody is, to measure what they cost.
    #[arg(long, default_value_t = 0)]
    absent_peers: u32,
    /// So many more peers that a crowd is.
    #[arg(long, default_value_t = 0, requires = "crowd_at")]
    crowd_peers: u32,
    /// Where the crowd is.
    #[arg(long)]
    crowd_at: Option<IpAddr>,
    /// Opens nothing and is that crowd, for the device with this key.
    #[arg(long, value_name = "KEY", requires = "crowd_peers")]
    be_crowd_of: Option<String>,
}

/// A peer on the command line.
#[derive(Debug, Clone)]
struct Peer(WantedPeer);

impl FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, rest) = text.split_once('@').context("no '@' behind the key")?;
        let (endpoint, prefixes) = rest.split_once('=').context("no '=' behind the endpoint")?;
        let prefixes: Result<BTreeSet<_>, _> = prefixes.split(',').map(str::parse).collect();
        let key = public_key(key)?;
        let endpoint = endpoint.parse().context("reading the endpoint")?;
        Ok(Self(peer(
            key,
            endpoint,
            prefixes.context("reading the prefixes")?,
        )?))
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if let Some(device) = &args.be_crowd_of {
        return runtime.block_on(crowd::run(args.crowd_peers, public_key(device)?));
    }
    std::fs::create_dir_all(&args.state_dir).context("making the folder")?;
    let private_key = tunnel::load_or_create_key(&args.state_dir)?;
    if args.show_key {
        return say(&STANDARD.encode(private_key.public_key().0));
    }
    runtime.block_on(async {
        let config = TunnelConfig {
            mode: args.mode,
            device: args.device.clone(),
            port: args.port,
            mtu: args.mtu,
            private_key,
            only: BTreeSet::new(),
        };
        let mut tunnel = Tunnel::open(config).await?;
        let mut peers = BTreeMap::new();
        for Peer(peer) in args.peer {
            peers.insert(peer.public_key, peer);
        }
        for number in 0..args.absent_peers {
            let peer = absent(number)?;
            peers.insert(peer.public_key, peer);
        }
        let crowd = match args.crowd_at {
            Some(address) => crowd_peers(address, args.crowd_peers)?,
            None => BTreeMap::new(),
        };
        peers.extend(crowd.clone());
        let configure_seconds = configure(&mut tunnel, &peers).await?;
        let change_ms = change_one(&mut tunnel, &mut peers).await?;
        say(&format!(
            "{{\"peers\":{},\"configure_seconds\":{configure_seconds},\"change_one_ms\":{change_ms:?}}}",
            peers.len()
        ))?;
        if !crowd.is_empty() {
            let answered_seconds = wait_for_answers(&tunnel, &crowd).await?;
            say(&format!("{{\"answered_seconds\":{answered_seconds}}}"))?;
        }
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        tunnel.close().await;
        Ok(())
    })
}

/// How long it takes, in seconds, until the device has these peers and its routes.
async fn configure(
    tunnel: &mut Tunnel,
    peers: &BTreeMap<PublicKey, WantedPeer>,
) -> anyhow::Result<f64> {
    let routes = peers
        .values()
        .flat_map(|peer| peer.allowed_ips.iter().copied())
        .collect();
    let start = Instant::now();
    tunnel.set_routes(&routes, &InsidePlan::default()).await?;
    tunnel.configure(peers).await?;
    Ok(start.elapsed().as_secs_f64())
}

/// How long it takes, in milliseconds, to give one peer a prefix more, or to take it again: each time of many.
async fn change_one(
    tunnel: &mut Tunnel,
    peers: &mut BTreeMap<PublicKey, WantedPeer>,
) -> anyhow::Result<Vec<f64>> {
    let Some(key) = peers.keys().next().copied() else {
        return Ok(Vec::new());
    };
    let prefix = "203.0.113.0/24".parse()?;
    let mut times = Vec::new();
    for _ in 0..CHANGES {
        if let Some(peer) = peers.get_mut(&key)
            && !peer.allowed_ips.remove(&prefix)
        {
            peer.allowed_ips.insert(prefix);
        }
        times.push(1000.0 * configure(tunnel, peers).await?);
        tokio::time::sleep(BETWEEN_CHANGES).await;
    }
    Ok(times)
}

/// The peers that a crowd is.
fn crowd_peers(address: IpAddr, count: u32) -> anyhow::Result<BTreeMap<PublicKey, WantedPeer>> {
    let members = (0..count).map(|number| {
        let key = crowd::private_key(number).public_key();
        let prefix = format!("fd78::{number:x}/128").parse()?;
        let endpoint = crowd::endpoint(address, number)?;
        Ok((key, peer(key, endpoint, BTreeSet::from([prefix]))?))
    });
    members.collect()
}

/// How long it takes, in seconds, until all of some peers have shaken hands.
async fn wait_for_answers(
    tunnel: &Tunnel,
    peers: &BTreeMap<PublicKey, WantedPeer>,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    loop {
        let stats = tunnel.stats().await?;
        let has_answered = |key| {
            let seen: Option<&PeerStats> = stats.get(key);
            seen.is_some_and(|seen| seen.last_handshake.is_some())
        };
        if peers.keys().all(has_answered) {
            return Ok(start.elapsed().as_secs_f64());
        }
        if start.elapsed() > ANSWERS_WITHIN {
            bail!("not all peers have answered within {ANSWERS_WITHIN:?}");
        }
        tokio::time::sleep(BETWEEN_CHANGES).await;
    }
}

fn public_key(text: &str) -> anyhow::Result<PublicKey> {
    let key = STANDARD.decode(text).context("reading the key")?;
    let Ok(key) = key.try_into() else {
        bail!("a key has 32 bytes");
    };
    Ok(PublicKey(key))
}

/// A peer that answers nothing: its endpoint is of those kept for documents.
fn absent(number: u32) -> anyhow::Result<WantedPeer> {
    let [_, b, c, d] = number.to_be_bytes();
    let mut key = [7; 32];
    key[..3].copy_from_slice(&[b, c, d]);
    let Ok(port) = u16::try_from(number % 50_000 + 1024) else {
        bail!("a port that is none");
    };
    let endpoint = SocketAddr::from(([192, 0, 2, 77], port));
    let prefixes = [
        format!("10.{}.{c}.{d}/32", 128 + b).parse()?,
        format!("fd77::{number:x}/128").parse()?,
    ];
    peer(PublicKey(key), endpoint, BTreeSet::from(prefixes))
}

fn peer(
    public_key: PublicKey,
    endpoint: SocketAddr,
    allowed_ips: BTreeSet<ipnet::IpNet>,
) -> anyhow::Result<WantedPeer> {
    Ok(WantedPeer {
        next_public_key: None,
        cluster: ClusterName::parse("other")?,
        node: NodeName::parse("node")?,
        public_key,
        endpoint,
        allowed_ips,
    })
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
