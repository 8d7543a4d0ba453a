//! A running hub, with a source and peers that the test plays.

mod peer;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use certs::identity::{SpiffeId, TrustDomain};
use clap::Parser;
use cluster_registry::{
    digest::KeyRange,
    link::LinkSpec,
    name::{ClusterName, NodeName},
    node::Tunnel,
    resource::{Key, Resource, ResourceId},
    store::{Batch, Cursor, ResumeError},
    view::View,
};
use cluster_registry_kube::source::SourceEvent;
use isthmus_daemon::{readiness::Readiness, status::GatewayStatus};
use mesh_gateway_core::question::{Answer, Question};
use mesh_link::{
    event::{Report, SessionHandle, SessionId},
    feed::{Feed, FetchRequest},
};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::peer::Opening;
pub(super) use self::peer::Peer;
use super::resources::{Said, name};
use crate::{
    args::Args,
    config::Config,
    hub::{Facts, Hub, HubEnds},
    links::LiveLinks,
    metrics::Metrics,
    state::{self, Saver},
};

/// How long any condition is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct World {
    ends: HubEnds,
    _stop: DropGuard,
}

impl World {
    /// The hub of cluster `zurich`, whose source is synced and empty.
    pub(super) async fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, []).await
    }

    /// The hub of cluster `zurich`, whose source is synced and knows something.
    pub(super) async fn start_with<const N: usize>(flags: &[&str], known: [Said; N]) -> Self {
        let (hub, ends) = Self::hub(flags);
        let world = Self::run(hub, ends);
        world.source_snapshot(known).await;
        world
    }

    /// The same hub's next life, from what was saved in a directory; its source has not spoken.
    pub(super) fn restart(flags: &[&str], dir: &Path) -> Self {
        let (mut hub, ends) = Self::hub(flags);
        let saved = state::load(dir, &name("zurich")).unwrap();
        hub.restore(saved.expect("something was saved"));
        Self::run(hub, ends)
    }

    /// A hub that does not run.
    pub(super) fn hub(flags: &[&str]) -> (Hub, HubEnds) {
        let base = [
            "gateway",
            "--cluster=zurich",
            "--credentials=c",
            "--manifests=m",
        ];
        let args = Args::parse_from(base.iter().chain(flags));
        let facts = Facts {
            metrics: Metrics::default(),
            readiness: Readiness::new(),
            dns_listen: None,
            dns_queries: Arc::default(),
            refused: watch::channel(Vec::new()).1,
        };
        Hub::new(&Config::try_from(args).unwrap(), facts)
    }

    fn run(hub: Hub, ends: HubEnds) -> Self {
        let token = CancellationToken::new();
        tokio::spawn(hub.run(token.clone()));
        Self {
            ends,
            _stop: token.drop_guard(),
        }
    }

    /// Saves as a gateway does that stops.
    pub(super) async fn save(&self, dir: &Path) {
        let saver = Saver {
            dir: dir.to_owned(),
            cluster: name("zurich"),
            requests: self.ends.saves.clone(),
            newest: self.ends.feed.newest.clone(),
        };
        let stopped = CancellationToken::new();
        stopped.cancel();
        timeout(PATIENCE, saver.run(stopped))
            .await
            .expect("the state is saved");
    }

    /// Whether sessions may begin.
    pub(super) fn serves(&self) -> bool {
        self.ends.serves.is_cancelled()
    }

    /// What nodes are told, as [`Self::told`].
    pub(super) async fn told_nodes(&self) -> Vec<(String, String)> {
        self.told(&self.ends.feed).await
    }

    /// A node's agent comes up and announces its tunnel end, which is all it has to say.
    pub(super) async fn report_tunnel(&mut self, node: &str, tunnel: Tunnel) {
        let node = NodeName::parse(node).unwrap();
        let trust_domain = TrustDomain::parse("cluster.local").unwrap();
        let (handle, orders) = SessionHandle::new();
        let agent = Peer {
            session: SessionId::next(),
            id: Arc::new(SpiffeId::node(trust_domain, name("zurich"), node.clone())),
            feed: self.ends.feed.clone(),
            orders,
        };
        let opening = Opening {
            peer: agent,
            handle,
            instance: None,
        };
        let mut agent = opening.come_up(self, false).await;
        let said = (ResourceId::Tunnel(node), Resource::from(tunnel));
        agent.say(self, [said]).await;
    }

    pub(super) async fn link_objects<const N: usize>(&self, links: [LinkSpec; N]) {
        let links = links.map(|link| (link.cluster.clone(), link));
        self.tell(SourceEvent::Links(links.into())).await;
    }

    pub(super) async fn source_snapshot<const N: usize>(&self, resources: [Said; N]) {
        self.tell(SourceEvent::Snapshot(resources.into())).await;
    }

    pub(super) async fn source_change(&self, (id, value): Said) {
        self.tell(SourceEvent::Changed(vec![(id, Some(value), None)]))
            .await;
    }

    async fn tell(&self, event: SourceEvent) {
        self.ends.source.send(event).await.unwrap();
    }

    pub(super) async fn report(&self, report: Report) {
        self.ends.reports.send(report).await.unwrap();
    }

    /// A session with a linked cluster that has not come up.
    pub(super) fn open(&self, cluster: &str) -> Opening {
        let feed = self.links()[&name(cluster)].feed.clone();
        let (handle, orders) = SessionHandle::new();
        let trust_domain = TrustDomain::parse("cluster.local").unwrap();
        Opening {
            peer: Peer {
                session: SessionId::next(),
                id: Arc::new(SpiffeId::gateway(trust_domain, name(cluster))),
                feed,
                orders,
            },
            handle,
            instance: None,
        }
    }

    /// A session with a linked cluster that is up.
    pub(super) async fn connect(&mut self, cluster: &str) -> Peer {
        let links = self
            .ends
            .links
            .wait_for(|links| links.contains_key(&name(cluster)));
        drop(timeout(PATIENCE, links).await.expect("the link").unwrap());
        self.open(cluster).come_up(self, false).await
    }

    pub(super) fn links(&self) -> LiveLinks {
        Arc::clone(&self.ends.links.borrow())
    }

    pub(super) async fn until_linked(&mut self, clusters: &[&str]) {
        let wanted: BTreeSet<ClusterName> = clusters.iter().map(|text| name(text)).collect();
        let links = self.ends.links.wait_for(|links| links.keys().eq(&wanted));
        drop(timeout(PATIENCE, links).await.expect("the links").unwrap());
    }

    pub(super) async fn until_spec(&mut self, cluster: &str, is_so: impl Fn(&LinkSpec) -> bool) {
        let cluster = name(cluster);
        let links = self
            .ends
            .links
            .wait_for(|links| links.get(&cluster).is_some_and(|link| is_so(&link.spec)));
        drop(timeout(PATIENCE, links).await.expect("the link").unwrap());
    }

    pub(super) async fn until(&mut self, what: &str, is_so: impl Fn(&View) -> bool) {
        let views = self
            .ends
            .views
            .wait_for(|view| view.as_ref().is_some_and(|view| is_so(view)));
        drop(timeout(PATIENCE, views).await.expect(what).unwrap());
    }

    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(self.ends.views.borrow().as_ref().unwrap())
    }

    pub(super) async fn status(&self) -> GatewayStatus {
        let (reply, answer) = oneshot::channel();
        self.ends.status.send(reply).await.unwrap();
        answer.await.unwrap()
    }

    /// Asks until a linked cluster is awaited, or is not.
    pub(super) async fn until_awaited(&self, cluster: &str, is_awaited: bool) {
        let reached = async {
            loop {
                let (reply, answer) = oneshot::channel();
                self.ends.link_states.send(reply).await.unwrap();
                let links = answer.await.unwrap();
                if links.is_some_and(|links| links[&name(cluster)].awaited == is_awaited) {
                    return;
                }
            }
        };
        timeout(PATIENCE, reached).await.expect("the hub's answer");
    }

    /// What the store answers to a session of a feed; `None` when the feed has ended.
    pub(super) async fn fetch_through(
        &self,
        feed: &Feed,
        after: Option<Cursor>,
    ) -> Option<Result<Batch, ResumeError>> {
        let (reply, answer) = oneshot::channel();
        let question = match after {
            Some(after) => Question::Changes { after },
            None => Question::Page {
                ranges: vec![KeyRange::default()],
            },
        };
        let request = FetchRequest {
            epoch: feed.epoch(),
            question,
            limit: 1000,
            reply,
        };
        feed.requests.send(request).await.unwrap();
        Some(match answer.await.ok()? {
            Answer::Changes(changes) => changes,
            Answer::Page(page) => Ok(Batch {
                changes: page.changes,
                cursor: page.cursor,
                is_last: page.rest.is_empty(),
            }),
            Answer::Compared { .. } => panic!("nothing was compared"),
        })
    }

    /// The services whose resources a feed tells, page by page, by namespace and name.
    pub(super) async fn told(&self, feed: &Feed) -> Vec<(String, String)> {
        let mut told = BTreeMap::new();
        let mut cursor = None;
        loop {
            let batch = self.fetch_through(feed, cursor).await.unwrap().unwrap();
            for change in batch.changes {
                told.insert(change.key.id.clone(), service_of(&change.key));
            }
            cursor = Some(batch.cursor);
            if batch.is_last {
                let mut told: Vec<(String, String)> = told.into_values().collect();
                told.sort();
                return told;
            }
        }
    }
}

fn service_of(key: &Key) -> (String, String) {
    match &key.id {
        ResourceId::Service(name) | ResourceId::Endpoint(name, _) => {
            (name.namespace.to_string(), name.name.to_string())
        }
        ResourceId::Cluster
        | ResourceId::Node(_)
        | ResourceId::Tunnel(_)
        | ResourceId::Namespace(_)
        | ResourceId::Import(_) => (String::new(), format!("{key:?}")),
    }
}
