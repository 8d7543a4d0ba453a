//! Does what Kubernetes' controllers do for a lab: looks whether pods serve, and keeps the EndpointSlices true.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    cgroup,
    following::Following,
    mode::Mode,
    netns,
    plan::{Plan, PodPlan},
    process::MAIN_GROUP,
    slices,
};

/// How soon a pod's death or an edited manifest is seen.
const STEP: Duration = Duration::from_millis(50);

/// How often a pod that is ready is asked again: often enough for a test, rarely enough not to disturb a measurement.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// A pod on this machine answers at once or not at all.
const PROBE_PATIENCE: Duration = Duration::from_millis(200);

/// Which files a manifests folder has, and in which edition.
type Edition = Vec<(PathBuf, Option<SystemTime>, u64)>;

/// The controller as a thread of the lab's owner; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Controller {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Controller {
    /// Starts it.
    pub(crate) fn start(plan: Plan) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let mut rounds = Rounds::start(&plan);
            while stopped.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
                rounds.once(&plan);
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Runs the controller in the calling thread until the lab's folder is gone.
pub(crate) fn run(plan: &Plan) {
    let mut rounds = Rounds::start(plan);
    while plan.run_dir().exists() {
        rounds.once(plan);
        thread::sleep(STEP);
    }
}

/// Whether a pod's program lives and all its TCP ports answer.
pub(crate) fn is_ready(pod: &PodPlan) -> bool {
    is_alive(pod) && probe(pod).is_ok()
}

/// Whether a pod's program lives.
pub(crate) fn is_alive(pod: &PodPlan) -> bool {
    cgroup::is_populated(&pod.cgroup.join(MAIN_GROUP))
}

fn probe(pod: &PodPlan) -> Result<()> {
    let address = pod.addresses.first().context("a pod without address")?;
    netns::inside(&pod.netns, || {
        for port in pod.pod.ports.iter().filter(|p| p.protocol == "TCP") {
            TcpStream::connect_timeout(&SocketAddr::new(*address, port.port), PROBE_PATIENCE)
                .with_context(|| format!("connecting to port {}", port.name))?;
        }
        Ok(())
    })
}

/// What the rounds so far have found.
#[derive(Debug, Default)]
struct Rounds {
    /// When each ready pod is asked again; a pod that is not ready is missing.
    ready_until: BTreeMap<String, Instant>,
    /// What each cluster's slices were derived from.
    derived_from: BTreeMap<String, (Seen, BTreeSet<String>)>,
    /// The services of each cluster that has an API server.
    followed: BTreeMap<String, Following>,
}

/// What a cluster's services were read from.
#[derive(Debug, PartialEq)]
enum Seen {
    Files(Edition),
    Services(Vec<Value>),
}

impl Rounds {
    fn start(plan: &Plan) -> Self {
        let clusters: &[_] = match plan.mode {
            Mode::Manifests => &[],
            Mode::Kubernetes => &plan.topology.clusters,
        };
        let followed = clusters.iter().filter_map(|cluster| {
            let following = Following::start(plan, &cluster.name).ok()?;
            Some((cluster.name.clone(), following))
        });
        Self {
            followed: followed.collect(),
            ..Self::default()
        }
    }

    /// What a cluster's services are read from; `None` while its API server has not told.
    fn seen(&self, plan: &Plan, cluster: &str) -> Result<Option<Seen>> {
        match self.followed.get(cluster) {
            Some(following) => Ok(following.services().map(Seen::Services)),
            None => Ok(Some(Seen::Files(edition(plan, cluster)?))),
        }
    }

    fn once(&mut self, plan: &Plan) {
        for pod in &plan.pods {
            self.look_at(pod, Instant::now());
        }
        for cluster in &plan.topology.clusters {
            // What fails in one round, such as reading a folder under edit or asking a server that is away, is tried again
            // in the next, and keeps no other cluster waiting.
            drop(self.derive(plan, &cluster.name));
        }
    }

    fn derive(&mut self, plan: &Plan, cluster: &str) -> Result<()> {
        let ready = plan.pods_of(cluster).map(PodPlan::path);
        let ready: BTreeSet<_> = ready
            .filter(|path| self.ready_until.contains_key(path))
            .collect();
        let Some(seen) = self.seen(plan, cluster)? else {
            return Ok(());
        };
        let facts = (seen, ready);
        if self.derived_from.get(cluster) == Some(&facts) {
            return Ok(());
        }
        let is_ready = |pod: &PodPlan| facts.1.contains(&pod.path());
        let services = match &facts.0 {
            Seen::Files(_) => slices::services(&plan.manifests_dir(cluster))?,
            Seen::Services(services) => {
                slices::write_pods(plan, cluster, &is_ready)?;
                slices::selecting(services)
            }
        };
        slices::write_slices(plan, cluster, services, &is_ready)?;
        self.derived_from.insert(cluster.to_owned(), facts);
        Ok(())
    }

    fn look_at(&mut self, pod: &PodPlan, now: Instant) {
        let path = pod.path();
        if !is_alive(pod) {
            self.ready_until.remove(&path);
            return;
        }
        if self
            .ready_until
            .get(&path)
            .is_some_and(|until| *until > now)
        {
            return;
        }
        if probe(pod).is_ok() {
            self.ready_until.insert(path, now + PROBE_INTERVAL);
        } else {
            self.ready_until.remove(&path);
        }
    }
}

fn edition(plan: &Plan, cluster: &str) -> Result<Edition> {
    let files = slices::manifest_files(&plan.manifests_dir(cluster))?;
    let files = files.into_iter().filter(|file| !slices::is_derived(file));
    Ok(files
        .filter_map(|file| {
            let metadata = fs::metadata(&file).ok()?;
            Some((file, metadata.modified().ok(), metadata.len()))
        })
        .collect())
}
