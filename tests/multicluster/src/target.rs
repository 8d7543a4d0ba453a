//! Names what a lab runs by itself: gateways, agents, and pods' programs.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Result, bail};

use crate::{apiserver, mode::Mode, plan::Plan, process::MAIN_GROUP};

/// Something in a lab that can be killed and started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A cluster's gateway: `<cluster>/gateway`.
    Gateway {
        /// The cluster.
        cluster: String,
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
    /// A cluster's gateway.
    pub fn gateway(cluster: &str) -> Self {
        let cluster = cluster.to_owned();
        Self::Gateway { cluster }
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
            Self::Gateway { cluster } => plan.gateway_node(cluster)?.cgroup.join("@gateway"),
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
            Self::Gateway { cluster } => plan.log_file(cluster, "gateway"),
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
            all.extend(
                plan.topology
                    .clusters
                    .iter()
                    .map(|c| Self::gateway(&c.name)),
            );
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
            Self::Gateway { cluster } => write!(f, "{cluster}/gateway"),
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
            [cluster, "gateway"] => Ok(Self::gateway(cluster)),
            [cluster, "apiserver"] => Ok(Self::api_server(cluster)),
            [cluster, node, "agent"] => Ok(Self::agent(cluster, node)),
            [cluster, pod] => Ok(Self::Pod {
                cluster: (*cluster).to_owned(),
                pod: (*pod).to_owned(),
            }),
            _ => bail!(
                "'{text}' is none of <cluster>/gateway, <cluster>/apiserver, <cluster>/<node>/agent, <cluster>/<pod>"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_as_it_is_written() {
        for text in [
            "east/gateway",
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
