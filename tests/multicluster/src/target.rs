//! Names what a lab runs by itself: gateways, agents, and pods' programs.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Result, bail};

use crate::{apiserver, mode::Mode, plan::Plan, process::MAIN_GROUP};

/// Something in a lab that can be killed and started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A gateway of a cluster: `<cluster>/gateway` is the first, `<cluster>/gateway-2` the second.
    Gateway {
        /// The cluster.
        cluster: String,
        /// Its number in the cluster, from 1.
        number: usize,
    },
    /// A cluster's API server: `<cluster>/apiserver`.
    ApiServer {
        /// The cluster.
        cluster: String,
    },
    /// A node's agent: `<cluster>/<node>/agent`.
    Agent {
        /// The cluster.
        cluster: String,
        /// The node.
        node: String,
    },
    /// A pod's program: `<cluster>/<pod>`.
    Pod {
        /// The cluster.
        cluster: String,
        /// The pod.
        pod: String,
    },
}

impl Target {
    /// A cluster's first gateway.
    pub fn gateway(cluster: &str) -> Self {
        Self::gateway_numbered(cluster, 1)
    }

    /// A cluster's gateway with this number, from 1.
    pub fn gateway_numbered(cluster: &str, number: usize) -> Self {
        let cluster = cluster.to_owned();
        Self::Gateway { cluster, number }
    }

    /// A cluster's API server.
    pub fn api_server(cluster: &str) -> Self {
        let cluster = cluster.to_owned();
        Self::ApiServer { cluster }
    }

    /// A node's agent.
    pub fn agent(cluster: &str, node: &str) -> Self {
        let (cluster, node) = (cluster.to_owned(), node.to_owned());
        Self::Agent { cluster, node }
    }

    /// The control group that only this one's program is in.
    pub(crate) fn cgroup(&self, plan: &Plan) -> Result<PathBuf> {
        Ok(match self {
            Self::Gateway { cluster, number } => {
                let node = plan.gateway_node(cluster)?;
                node.cgroup.join(gateway_group(*number))
            }
            Self::ApiServer { cluster } => {
                plan.gateway_node(cluster)?.cgroup.join(apiserver::GROUP)
            }
            Self::Agent { cluster, node } => plan.node(cluster, node)?.cgroup.join("@agent"),
            Self::Pod { .. } => plan.pod(&self.to_string())?.cgroup.join(MAIN_GROUP),
        })
    }

    /// The file with what it says.
    pub(crate) fn log_file(&self, plan: &Plan) -> PathBuf {
        match self {
            Self::Gateway { cluster, number } => plan.log_file(cluster, &gateway_name(*number)),
            Self::ApiServer { cluster } => plan.log_file(cluster, "apiserver"),
            Self::Agent { cluster, node } => plan.log_file(cluster, &format!("{node}/agent")),
            Self::Pod { cluster, pod } => plan.log_file(cluster, pod),
        }
    }

    /// All that a lab runs by itself.
    pub(crate) fn all(plan: &Plan) -> Vec<Self> {
        let mut all = Vec::new();
        let clusters = plan.topology.clusters.iter();
        match plan.mode {
            Mode::Manifests => {}
            Mode::Kubernetes => all.extend(clusters.map(|c| Self::api_server(&c.name))),
        }
        if plan.programs.is_some() {
            for cluster in &plan.topology.clusters {
                let numbers = 1..=cluster.gateways;
                all.extend(numbers.map(|n| Self::gateway_numbered(&cluster.name, n)));
            }
            all.extend(plan.nodes.iter().map(|n| Self::agent(&n.cluster, &n.name)));
        }
        let pods = plan.pods.iter().filter(|p| !p.pod.command.is_empty());
        all.extend(pods.map(|pod| Self::Pod {
            cluster: pod.cluster.clone(),
            pod: pod.pod.name.clone(),
        }));
        all
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway { cluster, number } => {
                write!(f, "{cluster}/{}", gateway_name(*number))
            }
            Self::ApiServer { cluster } => write!(f, "{cluster}/apiserver"),
            Self::Agent { cluster, node } => write!(f, "{cluster}/{node}/agent"),
            Self::Pod { cluster, pod } => write!(f, "{cluster}/{pod}"),
        }
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [cluster, "apiserver"] => Ok(Self::api_server(cluster)),
            [cluster, node, "agent"] => Ok(Self::agent(cluster, node)),
            [cluster, name] => Ok(gateway_number(name).map_or_else(
                || Self::Pod {
                    cluster: (*cluster).to_owned(),
                    pod: (*name).to_owned(),
                },
                |number| Self::gateway_numbered(cluster, number),
            )),
            _ => bail!(
                "'{text}' is none of <cluster>/gateway, <cluster>/gateway-2, <cluster>/apiserver, <cluster>/<node>/agent, <cluster>/<pod>"
            ),
        }
    }
}

/// What a gateway is called beside its cluster.
pub(crate) fn gateway_name(number: usize) -> String {
    match number {
        1 => "gateway".to_owned(),
        _ => format!("gateway-{number}"),
    }
}

/// Its control group below the node's.
pub(crate) fn gateway_group(number: usize) -> String {
    format!("@{}", gateway_name(number))
}

/// The number of the gateway that a name means: `gateway` is the first, `gateway-2` the second.
pub(crate) fn gateway_number(name: &str) -> Option<usize> {
    match name.strip_prefix("gateway")? {
        "" => Some(1),
        rest => rest
            .strip_prefix('-')?
            .parse()
            .ok()
            .filter(|number| *number > 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_as_it_is_written() {
        for text in [
            "east/gateway",
            "east/gateway-2",
            "east/apiserver",
            "east/n1/agent",
            "east/web-1",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn half_a_target_is_refused() {
        assert!("east".parse::<Target>().is_err());
    }
}
