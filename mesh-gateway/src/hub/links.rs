//! What becomes of the links when flags and ClusterLink objects say so: peers come, change and go at run time.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use cluster_registry::{link::LinkSpec, name::ClusterName};
use cluster_registry_kube::source::Problem;
use mesh_link::{event::GoodbyeReason, resume::Resume};

use super::{
    Hub,
    peers::{Peer, pace_of},
};
use crate::{links::LiveLink, metrics::PeerLabels};

/// Who asked for a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A flag of the gateway.
    Flag,
    /// A ClusterLink object.
    Object,
}

impl Origin {
    /// How status names it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Object => "ClusterLink",
        }
    }
}

/// A link and who asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) spec: Arc<LinkSpec>,
    pub(super) origin: Origin,
}

/// Which links count, and which do not and why.
pub(super) fn wanted(
    own: &ClusterName,
    flags: &[LinkSpec],
    objects: BTreeMap<ClusterName, LinkSpec>,
) -> (BTreeMap<ClusterName, Wanted>, Vec<Problem>) {
    let want = |spec: LinkSpec, origin| Wanted {
        spec: Arc::new(spec),
        origin,
    };
    let mut links: BTreeMap<ClusterName, Wanted> = flags
        .iter()
        .map(|spec| (spec.cluster.clone(), want(spec.clone(), Origin::Flag)))
        .collect();
    let mut problems = Vec::new();
    for (name, spec) in objects {
        if name == *own {
            let reason = "it leads to this cluster itself, and does not count: remove it";
            problems.push(problem(&name, reason));
            continue;
        }
        if links.contains_key(&name) {
            let reason = "the gateway's flag --link of the same name counts in its stead: remove one of both";
            problems.push(problem(&name, reason));
            continue;
        }
        if spec.is_dialled_by(own) && spec.addresses.is_empty() {
            let reason = "this cluster dials, and the link has no address: add one, or let the other side dial";
            problems.push(problem(&name, reason));
        }
        links.insert(name, want(spec, Origin::Object));
    }
    (links, problems)
}

fn problem(name: &ClusterName, reason: &str) -> Problem {
    Problem {
        file: format!("ClusterLink {name}"),
        document: 0,
        reason: reason.to_owned(),
    }
}

impl Hub {
    /// Takes the complete set of ClusterLink objects.
    pub(super) fn handle_links(&mut self, objects: BTreeMap<ClusterName, LinkSpec>) {
        let (wanted, problems) = wanted(&self.cluster, &self.flags, objects);
        for problem in problems.iter().filter(|p| !self.link_problems.contains(p)) {
            tracing::warn!(%problem, "a link does not count in full");
        }
        self.link_problems = problems;
        self.count_problems();
        let gone = self.peers.keys().filter(|name| !wanted.contains_key(*name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.remove_link(&name);
        }
        for (name, link) in wanted {
            match self.peers.get(&name) {
                None => self.add_link(link),
                Some(peer) if *peer.spec == *link.spec => {
                    if let Some(peer) = self.peers.get_mut(&name) {
                        peer.origin = link.origin;
                    }
                }
                Some(_) => self.change_link(&name, link),
            }
        }
        self.publish_links();
    }

    pub(super) fn add_link(&mut self, link: Wanted) {
        let Wanted { spec, origin } = link;
        tracing::info!(peer = %spec.cluster, origin = origin.label(), "link is made");
        self.registry.add_peer(&spec);
        let feed = self.exports.open(self.registry.exports(), &spec.export_to);
        let name = spec.cluster.clone();
        let peer = Peer::new(spec, origin, feed, Resume::default(), SystemTime::now());
        self.peers.insert(name, peer);
    }

    /// What the peer announced is withdrawn at once, and it learns why its session ends.
    fn remove_link(&mut self, name: &ClusterName) {
        let Some(peer) = self.peers.remove(name) else {
            return;
        };
        tracing::info!(peer = %name, "link is removed; what it shared is withdrawn");
        peer.seat.close_all(GoodbyeReason::NotAuthorised);
        peer.resume.clear();
        self.exports.close(&peer.feed);
        self.registry.remove_peer(name);
        let metrics = &self.facts.metrics;
        let labels = PeerLabels {
            peer: name.to_string(),
        };
        metrics.peer_connected.remove(&labels);
        metrics.peer_rtt.remove(&labels);
    }

    fn change_link(&mut self, name: &ClusterName, link: Wanted) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        tracing::info!(peer = %name, origin = link.origin.label(), "link is changed");
        let old = std::mem::replace(&mut peer.spec, Arc::clone(&link.spec));
        peer.origin = link.origin;
        let new = &link.spec;
        if old.export_to != new.export_to {
            self.exports.close(&peer.feed);
            peer.feed = self.exports.open(self.registry.exports(), &new.export_to);
            peer.seat.close_all(GoodbyeReason::LinkChanged);
        }
        if old.grants != new.grants || old.limits != new.limits {
            // What was refused and is granted now must be said again.
            peer.ask_for_everything();
            peer.seat.pace = Some(pace_of(&new.limits));
            peer.seat.close_lead(GoodbyeReason::LinkChanged);
            self.registry.change_peer(new);
        }
    }

    /// Tells dialers and admission which links count.
    pub(super) fn publish_links(&self) {
        let live = self.peers.iter().map(|(name, peer)| {
            let link = LiveLink {
                spec: Arc::clone(&peer.spec),
                feed: peer.feed.clone(),
                resume: peer.resume.clone(),
            };
            (name.clone(), link)
        });
        self.links_tx.send_replace(Arc::new(live.collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_beats_an_object_of_the_same_name_and_that_is_a_problem() {
        let mut object = LinkSpec::new(cluster("west"));
        object.limits.services = 1;
        let flag = LinkSpec::new(cluster("west"));

        let (links, problems) = wanted(
            &cluster("zurich"),
            std::slice::from_ref(&flag),
            objects([object]),
        );

        assert_eq!(links.len(), 1);
        assert_eq!(*links[&cluster("west")].spec, flag);
        assert_eq!(links[&cluster("west")].origin, Origin::Flag);
        let [problem] = &problems[..] else {
            panic!("{problems:?}");
        };
        assert_eq!(problem.file, "ClusterLink west");
        assert!(problem.reason.contains("--link"), "{}", problem.reason);
    }

    #[test]
    fn an_object_that_leads_home_or_nowhere_is_a_problem() {
        let home = LinkSpec::new(cluster("east"));
        let nowhere = LinkSpec::new(cluster("west"));

        let (links, problems) = wanted(&cluster("east"), &[], objects([home, nowhere]));

        // The peer may still dial, whatever this side was told of who does.
        assert_eq!(links.keys().collect::<Vec<_>>(), [&cluster("west")]);
        let files: Vec<&str> = problems.iter().map(|p| p.file.as_str()).collect();
        assert_eq!(files, ["ClusterLink east", "ClusterLink west"]);
    }

    fn objects<const N: usize>(links: [LinkSpec; N]) -> BTreeMap<ClusterName, LinkSpec> {
        links.map(|link| (link.cluster.clone(), link)).into()
    }

    fn cluster(name: &str) -> ClusterName {
        ClusterName::parse(name).unwrap()
    }
}
