//! The links as they stand: what dialers and admission need of each, and the task that dials.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use certs::identity::{SpiffeId, TrustDomain};
use cluster_registry::{
    link::{LinkSpec, PeerAddress},
    name::ClusterName,
    store::Epoch,
};
use mesh_link::{
    dial::Dialer,
    event::Report,
    feed::Feed,
    listen::Subscribes,
    resume::Resume,
    settings::{DEFAULT_MAX_BACKOFF, Settings},
};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A link that counts.
#[derive(Debug, Clone)]
pub(crate) struct LiveLink {
    pub(crate) spec: Arc<LinkSpec>,
    /// What its peer may know.
    pub(crate) feed: Feed,
    /// The position that its next session resumes from.
    pub(crate) resume: Resume,
}

/// The links that count, by the cluster that each leads to.
pub(crate) type LiveLinks = Arc<BTreeMap<ClusterName, LiveLink>>;

/// The task that keeps one dialer for each link that is dialled from here.
///
/// It ends with the token, once all dialers have said goodbye, or when nobody changes links any more. It is not cancel
/// safe: dialers would outlive it.
#[derive(Debug)]
pub(crate) struct Dialers {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) settings: Settings,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) links: watch::Receiver<LiveLinks>,
}

/// A dialer at work.
#[derive(Debug)]
struct Running {
    addresses: Vec<PeerAddress>,
    feed: Epoch,
    stop: CancellationToken,
}

impl Running {
    /// Whether it still does what the link asks for.
    fn serves(&self, link: &LiveLink) -> bool {
        self.addresses == link.spec.addresses && self.feed == link.feed.epoch()
    }
}

impl Dialers {
    /// Dials until the token is cancelled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut running = BTreeMap::new();
        loop {
            let links = Arc::clone(&self.links.borrow_and_update());
            self.follow(&links, &mut running, &tasks, &shutdown);
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.links.changed() => if changed.is_err() {
                    break;
                },
            }
        }
        for dialer in running.values() {
            dialer.stop.cancel();
        }
        tasks.close();
        tasks.wait().await;
    }

    fn follow(
        &self,
        links: &LiveLinks,
        running: &mut BTreeMap<ClusterName, Running>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) {
        let own = &self.settings.cluster;
        let is_wanted =
            |link: &LiveLink| link.spec.is_dialled_by(own) && !link.spec.addresses.is_empty();
        running.retain(|name, dialer| {
            let link = links.get(name);
            let is_kept = link.is_some_and(|link| is_wanted(link) && dialer.serves(link));
            if !is_kept {
                tracing::debug!(peer = %name, "dialer ends");
                dialer.stop.cancel();
            }
            is_kept
        });
        for (name, link) in links.iter().filter(|(_, link)| is_wanted(link)) {
            running.entry(name.clone()).or_insert_with(|| {
                tracing::debug!(peer = %name, "dialer starts");
                let stop = shutdown.child_token();
                tasks.spawn(self.dialer(link).run(stop.clone()));
                Running {
                    addresses: link.spec.addresses.clone(),
                    feed: link.feed.epoch(),
                    stop,
                }
            });
        }
    }

    fn dialer(&self, link: &LiveLink) -> Dialer {
        let cluster = link.spec.cluster.clone();
        Dialer {
            settings: self.settings.clone(),
            expected: SpiffeId::gateway(self.trust_domain.clone(), cluster),
            addresses: link.spec.addresses.clone(),
            feed: link.feed.clone(),
            resume: link.resume.clone(),
            subscribes: Subscribes::Later,
            compares: true,
            events: self.reports.clone(),
            max_backoff: DEFAULT_MAX_BACKOFF,
            seed: seed(),
        }
    }
}

/// Differs between processes, starts and links, so that dialers do not retry in step.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::from(now.unwrap_or_default().subsec_nanos()) ^ (u64::from(std::process::id()) << 32)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

    use certs::{
        Credentials,
        authority::{Authority, Validity},
        credentials::{ANCHORS_FILE, CERTIFICATE_FILE, KEY_FILE},
    };
    use cluster_registry::store::{Cursor, Revision};
    use mesh_link::{
        feed::FeedServer,
        settings::{DEFAULT_DETECT_MULTIPLIER, DEFAULT_HEARTBEAT_INTERVAL, start_instance},
    };
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn dialers_come_and_go_with_their_links() {
        let (links_tx, links) = watch::channel(LiveLinks::default());
        let (reports, mut reports_rx) = mpsc::channel(16);
        let dialers = Dialers {
            trust_domain: TrustDomain::parse("cluster.local").unwrap(),
            settings: settings("berlin"),
            reports,
            links,
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(dialers.run(stop.clone()));

        let (west, mut west_feed) = live("west", 1);
        links_tx.send_replace(Arc::new([(west.spec.cluster.clone(), west)].into()));
        assert_eq!(dialled(&mut reports_rx).await, "west");

        let (north, _north_feed) = live("north", 2);
        links_tx.send_replace(Arc::new([(north.spec.cluster.clone(), north)].into()));
        // The feed's last reader was the dialer.
        let ended = timeout(PATIENCE, west_feed.next()).await;
        assert!(ended.expect("the dialer's end").is_none());
        while dialled(&mut reports_rx).await != "north" {}

        stop.cancel();
        timeout(PATIENCE, running).await.unwrap().unwrap();
    }

    async fn dialled(reports: &mut mpsc::Receiver<Report>) -> String {
        let report = timeout(PATIENCE, reports.recv()).await.unwrap().unwrap();
        report.peer.cluster.to_string()
    }

    fn live(cluster: &str, epoch: u64) -> (LiveLink, FeedServer) {
        let (feed, server) = FeedServer::new(Cursor::at(Epoch(epoch), Revision(0)));
        let mut spec = LinkSpec::new(ClusterName::parse(cluster).unwrap());
        spec.addresses = vec!["unknown.invalid:4700".parse().unwrap()];
        let link = LiveLink {
            spec: Arc::new(spec),
            feed,
            resume: Resume::default(),
        };
        (link, server)
    }

    fn settings(cluster: &str) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        let trust_domain = TrustDomain::parse("cluster.local").unwrap();
        let cluster = ClusterName::parse(cluster).unwrap();
        let validity = || Validity::starting(SystemTime::now(), Duration::from_secs(3600));
        let authority = Authority::create(trust_domain.clone(), validity()).unwrap();
        let id = SpiffeId::gateway(trust_domain, cluster.clone());
        let issued = authority.issue(&id, validity()).unwrap();
        write(dir.path(), ANCHORS_FILE, authority.certificate_pem());
        write(dir.path(), CERTIFICATE_FILE, &issued.certificate);
        write(dir.path(), KEY_FILE, &issued.key);
        Settings {
            cluster,
            instance: start_instance("test").unwrap(),
            is_node: false,
            credentials: Arc::new(Credentials::load(dir.path()).unwrap()),
            heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
            detect_multiplier: DEFAULT_DETECT_MULTIPLIER,
        }
    }

    fn write(dir: &Path, file: &str, text: &str) {
        let path = dir.join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}
