//! Puts the gateway together: binds, starts the tasks in order, and ends them in order.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
    time::SystemTime,
};

use anyhow::{Context, bail};
use certs::{Credentials, identity::SpiffeId};
use cluster_registry_kube::{
    kubernetes::KubernetesSource, manifest::ManifestSource, source::SourceEvent,
};
use isthmus_daemon::{
    admin::{self, AdminState},
    readiness::Readiness,
    trace,
};
use mesh_link::{
    dial::Dialer,
    listen::Listener,
    resume::Resume,
    settings::{DEFAULT_MAX_BACKOFF, Settings},
};
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::{Admission, Admitted, NodeResumes},
    config::{Config, Link, SourceKind},
    dns::{DnsServer, Responder},
    hub::{Facts, Hub, HubEnds, StatusRequest},
    metrics::Metrics,
};

/// How a task that should run until the end has ended.
type Ended = (&'static str, anyhow::Result<()>);

/// The tasks that run until the end.
type Tasks = JoinSet<Ended>;

/// Runs the gateway until the token is cancelled or a task fails.
pub(crate) async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let credentials = load_credentials(&config)?;
    let dns = DnsServer::bind(&config.dns_listen).await?;
    let admin = TcpListener::bind(config.admin_listen)
        .await
        .with_context(|| format!("binding the admin server to {}", config.admin_listen))?;
    let metrics = Metrics::default();
    let facts = Facts {
        metrics: metrics.clone(),
        readiness: Readiness::new(),
        dns_listen: dns.local_address(),
        dns_queries: Arc::new(AtomicU64::new(0)),
    };
    let resumes: BTreeMap<_, _> = config
        .links
        .iter()
        .map(|link| (link.cluster.clone(), Resume::default()))
        .collect();
    let given = resumes.iter().map(|(name, resume)| (name, resume.clone()));
    let (hub, ends) = Hub::new(&config, given, facts.clone());
    let settings = Settings {
        cluster: config.cluster.clone(),
        is_node: false,
        credentials: Arc::new(credentials),
        heartbeat_interval: config.heartbeat_interval,
        detect_multiplier: config.detect_multiplier,
    };
    let sessions = Sessions::bind(&config, settings, &ends, &resumes)?;
    let sessions_guard = facts.readiness.guard("sessions");
    let responder = Responder::new(ends.views.clone(), metrics, Arc::clone(&facts.dns_queries))?;

    let base_token = CancellationToken::new();
    let mut base = Tasks::new();
    let token = base_token.clone();
    base.spawn(async move { ("hub", Ok(hub.run(token).await)) });
    base.spawn(run_source(
        config.source.clone(),
        ends.source,
        base_token.clone(),
    ));
    base.spawn(run_admin(admin, &facts, ends.status, base_token.clone()));
    let token = base_token.clone();
    base.spawn(async move { ("dns", dns.run(responder, token).await) });
    tracing::info!(cluster = %config.cluster, listen = %config.listen, "gateway starts");

    let session_token = CancellationToken::new();
    let mut live = Tasks::new();
    let mut failed = tokio::select! {
        () = shutdown.cancelled() => None,
        () = ends.synced.cancelled() => {
            sessions.spawn(&mut live, &session_token);
            None
        }
        ended = base.join_next() => Some(early_end(ended)),
    };
    drop(sessions_guard);
    if failed.is_none() {
        failed = tokio::select! {
            () = shutdown.cancelled() => None,
            ended = base.join_next() => Some(early_end(ended)),
            ended = live.join_next(), if !live.is_empty() => Some(early_end(ended)),
        };
    }
    facts.readiness.drain();
    // Peers hear goodbye while everything else still works.
    let drained = async {
        session_token.cancel();
        while live.join_next().await.is_some() {}
        base_token.cancel();
        while base.join_next().await.is_some() {}
    };
    let deadline = config.shutdown_deadline;
    if timeout(deadline, drained).await.is_err() {
        tracing::warn!(?deadline, "the shutdown took too long and was cut short");
    }
    failed.map_or(Ok(()), Err)
}

fn load_credentials(config: &Config) -> anyhow::Result<Credentials> {
    let dir = &config.credentials;
    let credentials = Credentials::load(dir)
        .with_context(|| format!("loading the credentials in {}", dir.display()))?;
    let expected = SpiffeId::gateway(config.trust_domain.clone(), config.cluster.clone());
    if *credentials.id() != expected {
        bail!(
            "the certificate in {} is of {}, but this is {expected}: issue one with \
             `isthmus certs issue --cluster {}`",
            dir.display(),
            credentials.id(),
            config.cluster
        );
    }
    Ok(credentials)
}

/// The tasks that talk to other gateways and to nodes; they start once there is something to say.
struct Sessions {
    listener: Listener<Admission>,
    dialers: Vec<Dialer>,
}

impl Sessions {
    fn bind(
        config: &Config,
        settings: Settings,
        ends: &HubEnds,
        resumes: &BTreeMap<cluster_registry::name::ClusterName, Resume>,
    ) -> anyhow::Result<Self> {
        let resume_of = |link: &Link| resumes.get(&link.cluster).cloned().unwrap_or_default();
        let dialled = config
            .links
            .iter()
            .filter(|link| link.is_dialled_by(&config.cluster));
        let dialers = dialled.map(|link| Dialer {
            settings: settings.clone(),
            expected: SpiffeId::gateway(config.trust_domain.clone(), link.cluster.clone()),
            addresses: link.addresses.clone(),
            feed: ends.exports.clone(),
            resume: resume_of(link),
            events: ends.reports.clone(),
            max_backoff: DEFAULT_MAX_BACKOFF,
            seed: seed(),
        });
        let dialers = dialers.collect();
        let admitted = config.links.iter().map(|link| {
            let admitted = Admitted::new(&config.cluster, link, resume_of(link));
            (link.cluster.clone(), admitted)
        });
        let admission = Admission {
            cluster: config.cluster.clone(),
            peers: admitted.collect(),
            nodes: NodeResumes::default(),
            exports: ends.exports.clone(),
            feed: ends.feed.clone(),
            reports: ends.reports.clone(),
        };
        let listener = Listener::bind(config.listen, settings, admission)
            .with_context(|| format!("listening at {}", config.listen))?;
        Ok(Self { listener, dialers })
    }

    fn spawn(self, tasks: &mut Tasks, token: &CancellationToken) {
        let Self { listener, dialers } = self;
        let listener_token = token.clone();
        tasks.spawn(async move { ("listener", Ok(listener.run(listener_token).await)) });
        for dialer in dialers {
            let token = token.clone();
            tasks.spawn(async move { ("dialer", Ok(dialer.run(token).await)) });
        }
    }
}

async fn run_source(
    kind: SourceKind,
    events: mpsc::Sender<SourceEvent>,
    token: CancellationToken,
) -> Ended {
    let hook = || trace::context_of(&tracing::Span::current());
    match kind {
        SourceKind::Manifests(dir) => {
            let source = ManifestSource::new(dir).with_trace_hook(hook);
            source.run(events, token).await;
        }
        SourceKind::Kubernetes => match kube::Client::try_default().await {
            Ok(client) => {
                let source = KubernetesSource::new(client).with_trace_hook(hook);
                source.run(events, token).await;
            }
            Err(error) => {
                let error = anyhow::Error::new(error);
                return (
                    "source",
                    Err(error.context("finding the Kubernetes API server")),
                );
            }
        },
    }
    ("source", Ok(()))
}

fn run_admin(
    listener: TcpListener,
    facts: &Facts,
    requests: mpsc::Sender<StatusRequest>,
    token: CancellationToken,
) -> impl Future<Output = Ended> + use<> {
    let mut registry = MetricsRegistry::default();
    facts.metrics.register(&mut registry);
    let status = move || {
        let requests = requests.clone();
        async move { ask_status(&requests).await.unwrap_or_default() }
    };
    let state = AdminState::new(Arc::new(registry), facts.readiness.clone(), status);
    async move {
        let served = admin::serve(listener, state, token).await;
        ("admin", served.context("serving the admin endpoints"))
    }
}

/// The status as JSON; `None` when the hub is gone.
async fn ask_status(requests: &mpsc::Sender<StatusRequest>) -> Option<serde_json::Value> {
    let (reply, answer) = oneshot::channel();
    requests.send(reply).await.ok()?;
    serde_json::to_value(answer.await.ok()?).ok()
}

fn early_end(ended: Option<Result<Ended, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok((name, Err(error)))) => error.context(format!("the {name} task failed")),
        Some(Ok((name, Ok(())))) => anyhow::anyhow!("the {name} task ended early"),
        Some(Err(error)) => anyhow::Error::new(error).context("a task panicked"),
        None => anyhow::anyhow!("no task is left"),
    }
}

/// Differs between processes and starts, so that dialers do not retry in step.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::from(now.unwrap_or_default().subsec_nanos()) ^ (u64::from(std::process::id()) << 32)
}
