//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use cluster_registry::name::{ClusterName, NodeName};

use crate::output::Format;

/// Sees and operates an Isthmus clusterset.
///
/// Exit codes: 0 well; 1 something failed or is not well; 2 the arguments make no sense or this machine cannot do it;
/// 3 a daemon cannot be reached.
#[derive(Debug, Parser)]
#[command(name = "isthmus", version)]
pub(crate) struct Args {
    /// How data is printed.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows clusters, links, nodes and tunnels as the gateways and agents see them.
    Status(From),
    /// Shows the services and which clusters' backends they have.
    Services(Services),
    /// Makes a clusterset's authority and issues credentials.
    #[command(subcommand)]
    Certs(Certs),
    /// Runs clusters on this machine, as network namespaces.
    #[command(subcommand)]
    Lab(Lab),
}

/// Which daemons to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct From {
    /// The admin endpoint of a gateway or an agent; may be given several times.
    #[arg(long, value_name = "URL", env = "ISTHMUS_ADMIN", value_delimiter = ',')]
    pub(crate) admin: Vec<String>,
    /// All gateways and agents of a lab on this machine.
    #[arg(long, value_name = "NAME", conflicts_with = "admin")]
    pub(crate) lab: Option<String>,
}

/// Which services to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Services {
    #[command(flatten)]
    pub(crate) from: From,
    /// Only those of one namespace.
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// Only global ones.
    #[arg(long)]
    pub(crate) global: bool,
}

/// What to do with credentials.
#[derive(Debug, Subcommand)]
pub(crate) enum Certs {
    /// Makes the authority that all gateways and agents of a clusterset trust.
    Init {
        /// Where its certificate and key go.
        #[arg(long)]
        dir: PathBuf,
        /// The trust domain: the same in all clusters.
        #[arg(long, default_value = "cluster.local")]
        trust_domain: String,
        /// How long it is valid, as in 90d, 24h or 30m.
        #[arg(long, default_value = "3650d", value_parser = duration)]
        valid_for: Duration,
        /// Replaces an authority that is there, which ends the trust of all it issued.
        #[arg(long)]
        force: bool,
    },
    /// Issues the credentials of a cluster's gateway, or of a node's agent.
    Issue {
        /// The authority's folder.
        #[arg(long)]
        ca: PathBuf,
        /// The cluster that the holder may speak for.
        #[arg(long)]
        cluster: ClusterName,
        /// The node whose agent it is; without, it is the gateway.
        #[arg(long)]
        node: Option<NodeName>,
        /// Where `ca.pem`, `cert.pem` and `key.pem` go.
        #[arg(long)]
        out: PathBuf,
        /// How long they are valid, as in 90d, 24h or 30m.
        #[arg(long, default_value = "24h", value_parser = duration)]
        valid_for: Duration,
        /// Replaces credentials that are there.
        #[arg(long)]
        force: bool,
    },
    /// Says what a certificate, or the certificates of a folder, are.
    Inspect {
        /// The file or folder.
        path: PathBuf,
    },
}

/// What to do with labs.
#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Builds a lab and leaves it running.
    Up {
        /// The topology; the demo's if left out.
        topology: Option<PathBuf>,
        /// Another name than the topology's.
        #[arg(long, value_name = "NAME")]
        lab: Option<String>,
        /// Gives each cluster an API server in place of its folder of manifests.
        #[arg(long, conflicts_with = "no_daemons")]
        kubernetes: bool,
        /// Only network and pods.
        #[arg(long)]
        no_daemons: bool,
        /// The folder of the gateway's and the agent's programs; beside this one if left out.
        #[arg(long, value_name = "DIR", env = "ISTHMUS_BIN_DIR")]
        bin_dir: Option<PathBuf>,
    },
    /// Removes a lab, whoever built it and however that ended.
    Down {
        /// The lab; may be left out if there is only one.
        lab: Option<String>,
        /// All labs on this machine.
        #[arg(long, conflicts_with = "lab")]
        all: bool,
    },
    /// Lists the labs on this machine.
    List,
    /// Shows a lab's nodes, pods and cuts.
    Status {
        /// The lab; may be left out if there is only one.
        lab: Option<String>,
    },
    /// Runs a command in a pod.
    Exec {
        #[command(flatten)]
        lab: InLab,
        /// The pod: CLUSTER/POD.
        pod: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Cuts two places off from each other: packets between them vanish.
    Cut {
        #[command(flatten)]
        lab: InLab,
        /// A cluster, or CLUSTER/NODE.
        from: String,
        /// Another cluster or node.
        to: String,
        /// Only what the first sends to the second vanishes.
        #[arg(long)]
        one_way: bool,
    },
    /// Ends cuts: all, or those between two places.
    Heal {
        #[command(flatten)]
        lab: InLab,
        /// A cluster, or CLUSTER/NODE.
        #[arg(requires = "to")]
        from: Option<String>,
        /// Another cluster or node.
        to: Option<String>,
        /// Only what the first sends to the second.
        #[arg(long, requires = "to")]
        one_way: bool,
    },
    /// Kills a program: CLUSTER/gateway, CLUSTER/gateway-2, CLUSTER/apiserver, CLUSTER/NODE/agent or CLUSTER/POD.
    Kill {
        #[command(flatten)]
        lab: InLab,
        /// The program.
        target: String,
        /// Asks it to end in order (SIGTERM) rather than killing it.
        #[arg(long)]
        term: bool,
    },
    /// Starts a program that was killed.
    Start {
        #[command(flatten)]
        lab: InLab,
        /// The program.
        target: String,
    },
    /// Prints the end of what a program said.
    Logs {
        #[command(flatten)]
        lab: InLab,
        /// The program.
        target: String,
    },
    /// Keeps a lab's EndpointSlices true; `lab up` starts it.
    #[command(hide = true)]
    Controller {
        /// The lab.
        lab: String,
    },
}

/// Which lab a command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct InLab {
    /// The lab; may be left out if there is only one.
    #[arg(long, value_name = "NAME")]
    pub(crate) lab: Option<String>,
}

/// Reads `90d`, `24h`, `30m` or `45s`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration: write 90d, 24h, 30m or 45s");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        'd' => 24 * 3600,
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let number = text.strip_suffix(unit).and_then(|n| n.parse::<u64>().ok());
    let number = number.ok_or_else(wrong)?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_command_in_a_pod_keeps_its_own_flags() {
        let line = [
            "isthmus",
            "lab",
            "exec",
            "east/client",
            "--",
            "curl",
            "-o",
            "x",
        ];
        let args = Args::try_parse_from(line).unwrap();

        let Command::Lab(Lab::Exec { command, .. }) = args.command else {
            panic!("another command: {:?}", args.command);
        };
        assert_eq!(command, ["curl", "-o", "x"]);
    }

    #[test]
    fn what_a_new_lab_suggests_is_understood() {
        let topology = multicluster::Topology::demo().unwrap();
        let mut plan = multicluster::Plan::new(&topology, Path::new("/sys/fs/cgroup")).unwrap();
        plan.programs = Some("/bin".into());

        for hint in multicluster::hints(&plan) {
            let args = Args::try_parse_from(hint.split(' '));
            assert!(args.is_ok(), "{hint}: {args:?}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90d"), Ok(Duration::from_secs(90 * 24 * 3600)));
        assert_eq!(duration("45s"), Ok(Duration::from_secs(45)));
        for wrong in ["", "5", "h", "-1h", "1.5h", "99999999999999999999d", "1ü"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
