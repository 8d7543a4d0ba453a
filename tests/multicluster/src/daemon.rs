//! Starts the gateways and agents of a lab, each on its node, and asks them how they are.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use certs::{TrustDomain, commands};
use cluster_registry::name::{ClusterName, NodeName};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    apiserver, cgroup, controller,
    http::{self, Answer},
    mode::Mode,
    netns,
    plan::{GATEWAY_PORT, NodePlan, Plan},
    process::{Launch, MAIN_GROUP},
    target::{Target, gateway_group, gateway_name},
    wait::wait_until,
};

/// The gateway's program.
pub const GATEWAY_PROGRAM: &str = "isthmus-gateway";

/// The agent's program.
pub const AGENT_PROGRAM: &str = "isthmus-agent";

/// The daemons' own default.
const TRUST_DOMAIN: &str = "cluster.local";

/// A lab is for hours, not for months.
const CREDENTIALS_VALID_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// The daemons' own deadline for an orderly end is 5 s.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The port of the first gateway's admin endpoint.
const GATEWAY_ADMIN_PORT: u16 = 9470;

/// The port at which the first gateway answers DNS: pods ask it alone, as a resolver has no other port.
const DNS_PORT: u16 = 53;

const AGENT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9471);

/// Makes the lab's authority and the credentials of all its daemons.
pub(crate) fn issue_credentials(plan: &Plan) -> Result<()> {
    let authority = authority_dir(plan);
    let now = SystemTime::now();
    let init = commands::Init {
        dir: authority.clone(),
        trust_domain: TrustDomain::parse(TRUST_DOMAIN)?,
        valid_for: CREDENTIALS_VALID_FOR,
        force: false,
    };
    commands::init(&init, now).context("making the lab's authority")?;
    let gateways = plan.topology.clusters.iter().map(|c| (&c.name, None));
    let agents = plan.nodes.iter().map(|n| (&n.cluster, Some(&n.name)));
    for (cluster, node) in gateways.chain(agents) {
        let issue = commands::Issue {
            authority: authority.clone(),
            cluster: ClusterName::parse(cluster)?,
            node: node.map(|n| NodeName::parse(n)).transpose()?,
            out: credentials_dir(plan, cluster, node.map(String::as_str)),
            valid_for: CREDENTIALS_VALID_FOR,
            force: false,
        };
        commands::issue(&issue, now)
            .with_context(|| format!("issuing credentials in cluster {cluster}"))?;
    }
    Ok(())
}

/// The folder of the authority that a lab's daemons trust.
pub(crate) fn authority_dir(plan: &Plan) -> PathBuf {
    plan.run_dir().join("certs").join("authority")
}

/// The folder with the credentials of a node's agent or (without node) of a cluster's gateway.
pub(crate) fn credentials_dir(plan: &Plan, cluster: &str, node: Option<&str>) -> PathBuf {
    let holder = node.map_or_else(|| "gateway".to_owned(), |node| format!("node-{node}"));
    plan.run_dir().join("certs").join(cluster).join(holder)
}

/// Starts a daemon or a pod's program.
pub(crate) fn start(plan: &Plan, target: &Target) -> Result<()> {
    let group = target.cgroup(plan)?;
    ensure!(!cgroup::is_populated(&group), "{target} runs already");
    let launch = match target {
        Target::ApiServer { cluster } => {
            let program = program(plan, apiserver::PROGRAM)?;
            return apiserver::start(plan, cluster, program.as_ref());
        }
        Target::Gateway { cluster, number } => {
            let node = plan.gateway_node(cluster)?;
            let argv = gateway_argv(plan, cluster, *number)?;
            let launch = Launch::on_node(plan, node, &gateway_group(*number)).argv(argv);
            match plan.mode {
                Mode::Manifests => launch,
                Mode::Kubernetes => launch.variable("KUBECONFIG", text(&plan.kubeconfig(cluster))),
            }
        }
        Target::Agent { cluster, node } => {
            let node = plan.node(cluster, node)?;
            Launch::on_node(plan, node, "@agent").argv(agent_argv(plan, node)?)
        }
        Target::Pod { .. } => {
            let pod = plan.pod(&target.to_string())?;
            ensure!(!pod.pod.command.is_empty(), "{target} has no command");
            Launch::in_pod(plan, pod, MAIN_GROUP).argv(&pod.pod.command)
        }
    };
    launch.spawn_logged(&target.log_file(plan))
}

/// Sends a signal that ends a program, and waits for the end.
pub(crate) fn kill(plan: &Plan, target: &Target, signal: Signal) -> Result<()> {
    let group = target.cgroup(plan)?;
    let hit = cgroup::signal(&group, signal)?;
    ensure!(hit > 0, "{target} does not run");
    wait_until(END_WITHIN, &format!("{target} ends on {signal}"), || {
        Ok(!cgroup::is_populated(&group))
    })
}

/// Whether a daemon says that it is ready, or a pod serves.
pub(crate) fn is_ready(plan: &Plan, target: &Target) -> Result<bool> {
    match target {
        Target::Gateway { .. } | Target::Agent { .. } => {
            Ok(ask(plan, target, "/readyz")?.status == 200)
        }
        Target::ApiServer { cluster } => apiserver::is_ready(plan, cluster),
        Target::Pod { .. } => Ok(controller::is_ready(plan.pod(&target.to_string())?)),
    }
}

/// What a daemon says of itself.
pub(crate) fn status(plan: &Plan, target: &Target) -> Result<Value> {
    let answer = ask(plan, target, "/v1/status")?;
    ensure!(
        answer.status == 200,
        "{target} answers its status with {}",
        answer.status
    );
    serde_json::from_str(&answer.body).with_context(|| format!("reading the status of {target}"))
}

/// Fetches a page of a daemon's admin endpoint.
pub(crate) fn ask(plan: &Plan, target: &Target, path: &str) -> Result<Answer> {
    at_admin(plan, target, |address| http::get(address, path))
}

/// Gives a daemon an order.
pub(crate) fn order(plan: &Plan, target: &Target, path: &str) -> Result<Answer> {
    at_admin(plan, target, |address| http::post(address, path))
}

/// Does something with a daemon's admin endpoint, from inside its node.
fn at_admin(
    plan: &Plan,
    target: &Target,
    job: impl FnOnce(SocketAddr) -> Result<Answer> + Send,
) -> Result<Answer> {
    let (node, address) = match target {
        Target::Gateway { cluster, number } => {
            let address = gateway_admin(plan, cluster, *number)?;
            (plan.gateway_node(cluster)?, address)
        }
        Target::Agent { cluster, node } => (plan.node(cluster, node)?, AGENT_ADMIN),
        Target::ApiServer { .. } | Target::Pod { .. } => {
            bail!("{target} is no daemon of ours: it has no admin endpoint")
        }
    };
    netns::inside(&node.netns, || job(address)).with_context(|| format!("asking {target}"))
}

/// Finds the folder with both daemons' programs and, if there are to be API servers, theirs.
pub(crate) fn find_programs(wanted: Option<&Path>, mode: Mode) -> Result<PathBuf> {
    let programs: &[&str] = match mode {
        Mode::Manifests => &[GATEWAY_PROGRAM, AGENT_PROGRAM],
        Mode::Kubernetes => &[GATEWAY_PROGRAM, AGENT_PROGRAM, apiserver::PROGRAM],
    };
    let own = std::env::current_exe().context("finding this program's folder")?;
    // A test's program lies one folder below the others.
    let beside = own.ancestors().skip(1).take(2).map(Path::to_owned);
    let named = wanted.map(Path::to_owned);
    let named = named.or_else(|| std::env::var_os("ISTHMUS_BIN_DIR").map(PathBuf::from));
    let candidates = named.map_or_else(|| beside.collect(), |named| vec![named]);
    let has_all = |folder: &&PathBuf| programs.iter().all(|program| folder.join(program).exists());
    if let Some(folder) = candidates.iter().find(has_all) {
        return fs::canonicalize(folder).context("finding the daemons' folder");
    }
    let places = candidates.iter().map(|c| c.display().to_string());
    bail!(
        "{} are not in {}: build them with `cargo build`, or name their folder with --bin-dir or ISTHMUS_BIN_DIR",
        programs.join(" and "),
        places.collect::<Vec<_>>().join(" or ")
    )
}

fn gateway_admin(plan: &Plan, cluster: &str, number: usize) -> Result<SocketAddr> {
    let port = plan.gateway_port(cluster, number, GATEWAY_ADMIN_PORT)?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn gateway_argv(plan: &Plan, cluster: &str, number: usize) -> Result<Vec<String>> {
    let credentials = credentials_dir(plan, cluster, None);
    let mut argv = vec![program(plan, GATEWAY_PROGRAM)?];
    argv.extend(["--cluster".to_owned(), cluster.to_owned()]);
    argv.extend(["--credentials".to_owned(), text(&credentials)]);
    argv.extend(match plan.mode {
        Mode::Manifests => vec!["--manifests".to_owned(), text(&plan.manifests_dir(cluster))],
        Mode::Kubernetes => vec!["--kubernetes".to_owned()],
    });
    argv.extend(["--replica".to_owned(), gateway_name(number)]);
    let admin = gateway_admin(plan, cluster, number)?;
    argv.extend(["--admin-listen".to_owned(), admin.to_string()]);
    for (flag, first) in [("--listen", GATEWAY_PORT), ("--dns-listen", DNS_PORT)] {
        let port = plan.gateway_port(cluster, number, first)?;
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        argv.extend([flag.to_owned(), everywhere.to_string()]);
    }
    for other in &plan.topology.clusters {
        if plan.topology.is_linked(cluster, &other.name) {
            let mut link = format!("name={}", other.name);
            for address in plan.gateway_addresses(&other.name)? {
                link += &format!(",address={address}");
            }
            argv.extend(["--link".to_owned(), link]);
        }
    }
    argv.extend(plan.cluster(cluster)?.gateway_args.iter().cloned());
    Ok(argv)
}

fn agent_argv(plan: &Plan, node: &NodePlan) -> Result<Vec<String>> {
    let NodePlan { cluster, name, .. } = node;
    let credentials = credentials_dir(plan, cluster, Some(name));
    let state = plan
        .run_dir()
        .join("agents")
        .join(format!("{cluster}-{name}"));
    fs::create_dir_all(&state).with_context(|| format!("making {}", state.display()))?;
    let bpffs = plan.bpffs().join(format!("{cluster}-{name}"));
    fs::create_dir_all(&bpffs).with_context(|| format!("making {}", bpffs.display()))?;
    let mut argv = vec![program(plan, AGENT_PROGRAM)?];
    argv.extend(["--cluster".to_owned(), cluster.clone()]);
    argv.extend(["--node".to_owned(), name.clone()]);
    argv.extend(["--credentials".to_owned(), text(&credentials)]);
    for gateway in plan.gateway_addresses(cluster)? {
        argv.extend(["--gateway".to_owned(), gateway.to_string()]);
    }
    argv.extend(["--state-dir".to_owned(), text(&state)]);
    argv.extend(["--bpffs".to_owned(), text(&bpffs)]);
    argv.extend(["--cgroup".to_owned(), text(&node.cgroup)]);
    let of_cluster = plan.cluster(cluster)?;
    argv.extend(of_cluster.agent_args.iter().cloned());
    argv.extend(
        of_cluster
            .node_args
            .get(name)
            .into_iter()
            .flatten()
            .cloned(),
    );
    Ok(argv)
}

fn program(plan: &Plan, name: &str) -> Result<String> {
    let folder = plan.programs.as_ref().with_context(|| {
        format!(
            "lab {} was built without daemons, so it has no {name}",
            plan.lab()
        )
    })?;
    Ok(text(&folder.join(name)))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
