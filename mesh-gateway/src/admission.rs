//! Decides who may have a session: the gateways of linked clusters, and the nodes of this one.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use certs::identity::{Role, SpiffeId};
use cluster_registry::{
    link::Dial,
    name::{ClusterName, NodeName},
};
use mesh_link::{
    event::Report,
    feed::Feed,
    listen::{Authorise, Denied, Grant, Subscribes},
    resume::Resume,
};
use tokio::sync::{mpsc, watch};

use crate::links::LiveLinks;

/// The positions that the nodes' next sessions resume from, shared by whoever admits them and whoever forgets them.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeResumes(Arc<Mutex<BTreeMap<NodeName, Resume>>>);

impl NodeResumes {
    /// The position of a node, made if it is not there.
    ///
    /// Only holders of a valid certificate of this cluster get here, so there are as many as nodes.
    fn of(&self, node: &NodeName) -> Resume {
        let mut resumes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        resumes.entry(node.clone()).or_default().clone()
    }
}

/// Who may have a session, and what each gets.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) cluster: ClusterName,
    /// The linked clusters, as they are at the time.
    pub(crate) links: watch::Receiver<LiveLinks>,
    pub(crate) nodes: NodeResumes,
    /// What nodes must know.
    pub(crate) feed: Feed,
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Authorise for Admission {
    fn authorise(&self, peer: &SpiffeId, address: SocketAddr) -> Result<Grant, Denied> {
        let (feed, resume) = match &peer.role {
            Role::Gateway => self.admit_gateway(peer)?,
            Role::Node(node) if peer.cluster == self.cluster => {
                (self.feed.clone(), self.nodes.of(node))
            }
            Role::Node(_) => {
                return Err(denied(format!("{peer} is a node of another cluster")));
            }
        };
        tracing::debug!(%peer, %address, "session admitted");
        Ok(Grant {
            feed,
            resume,
            subscribes: Subscribes::Later,
            // What a node announces is one resource.
            compares: matches!(peer.role, Role::Gateway),
            events: self.reports.clone(),
        })
    }
}

impl Admission {
    fn admit_gateway(&self, peer: &SpiffeId) -> Result<(Feed, Resume), Denied> {
        let links = self.links.borrow();
        let Some(link) = links.get(&peer.cluster) else {
            return Err(denied(format!(
                "no link is configured to cluster {}",
                peer.cluster
            )));
        };
        // Where both sides dial, one of both sessions must give way, or each would replace the other for ever.
        let is_ours_to_dial = link.spec.dial != Dial::Never && self.cluster < peer.cluster;
        if is_ours_to_dial {
            return Err(denied(format!(
                "cluster {} is dialled from here",
                peer.cluster
            )));
        }
        Ok((link.feed.clone(), link.resume.clone()))
    }
}

fn denied(reason: String) -> Denied {
    Denied { reason }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use cluster_registry::store::{Cursor, Epoch, Revision};
    use mesh_link::feed::FeedServer;

    use super::*;
    use crate::links::LiveLink;

    #[test]
    fn gateways_of_linked_clusters_and_own_nodes_are_admitted() {
        let admission = admission("zurich", &["name=west,dial=never"]);

        assert!(admission.authorise(&id("west/gateway"), ADDRESS).is_ok());
        assert!(admission.authorise(&id("zurich/node/n1"), ADDRESS).is_ok());
    }

    #[test]
    fn strangers_are_denied_with_the_reason() {
        let admission = admission("zurich", &["name=west,dial=never"]);

        for (path, says) in [
            ("north/gateway", "no link is configured to cluster north"),
            ("zurich/gateway", "no link is configured to cluster zurich"),
            ("west/node/n1", "is a node of another cluster"),
        ] {
            let denied = admission.authorise(&id(path), ADDRESS).unwrap_err();
            assert!(denied.reason.ends_with(says), "{}", denied.reason);
        }
    }

    #[test]
    fn only_one_side_of_a_link_is_heard_when_both_dial() {
        let link = |name: &str| format!("name={name},address=192.0.2.2:4700,dial=always");
        let east = admission("east", &[&link("west")]);
        let west = admission("west", &[&link("east")]);

        assert!(east.authorise(&id("west/gateway"), ADDRESS).is_err());
        assert!(west.authorise(&id("east/gateway"), ADDRESS).is_ok());
    }

    const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 4700);

    fn admission(cluster: &str, links: &[&str]) -> Admission {
        let cluster = ClusterName::parse(cluster).unwrap();
        let (feed, _server) = FeedServer::new(Cursor::at(Epoch(1), Revision(0)));
        let (reports, _) = mpsc::channel(1);
        let live = links.iter().map(|text| {
            let spec = Arc::new(crate::config::link::parse(text).unwrap());
            let link = LiveLink {
                spec: Arc::clone(&spec),
                feed: feed.clone(),
                resume: Resume::default(),
            };
            (spec.cluster.clone(), link)
        });
        let (_, links) = watch::channel(Arc::new(live.collect()));
        Admission {
            links,
            cluster,
            nodes: NodeResumes::default(),
            feed,
            reports,
        }
    }

    fn id(path: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://cluster.local/cluster/{path}")).unwrap()
    }
}
