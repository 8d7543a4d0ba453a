//! Puts the gateway together: binds, starts the tasks in order, and ends them in order.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::{Context, bail};
use certs::{Credentials, identity::SpiffeId};
use cluster_registry::view::View;
use cluster_registry_kube::{
    kubernetes::KubernetesSource, manifest::ManifestSource, source::SourceEvent,
};
use isthmus_daemon::{
    admin::{self, AdminState},
    readiness::Readiness,
    trace,
};
use mesh_link::{
    listen::Listener,
    settings::{Settings, start_instance},
};
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::{Admission, NodeResumes},
    config::{Config, SourceKind},
    dns::{DnsServer, Responder},
    dump,
    hub::{Facts, Hub, HubEnds, StatusRequest},
    links::Dialers,
    metrics::Metrics,
    publishing::Publishing,
    state::{self, Saver},
};

/// How a task that should run until the end has ended.
type Ended = (&'static str, anyhow::Result<()>);

/// The tasks that run until the end.
type Tasks = JoinSet<Ended>;

/// Runs the gateway until the token is cancelled or a task fails.
pub(crate) async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let settings = session_settings(&config)?;
    let dns = DnsServer::bind(&config.dns_listen).await?;
    let admin = TcpListener::bind(config.admin_listen)
        .await
        .with_context(|| format!("binding the admin server to {}", config.admin_listen))?;
    let (refused_tx, refused) = watch::channel(Vec::new());
    let facts = Facts {
        metrics: Metrics::default(),
        readiness: Readiness::new(),
        dns_listen: dns.local_address(),
        dns_queries: Arc::new(AtomicU64::new(0)),
        refused,
    };
    let (mut hub, ends) = Hub::new(&config, facts.clone());
    let saver = match &config.state_dir {
        Some(dir) => {
            if let Some(saved) = state::load(dir, &config.cluster)? {
                hub.restore(saved);
            }
            Some(Saver {
                dir: dir.clone(),
                cluster: config.cluster.clone(),
                requests: ends.saves.clone(),
                newest: ends.feed.newest.clone(),
            })
        }
        None => None,
    };
    let sessions = Sessions::bind(&config, settings, &ends, saver)?;
    let queries = Arc::clone(&facts.dns_queries);
    let responder = Responder::new(ends.views.clone(), facts.metrics.clone(), queries)?;

    let token = CancellationToken::new();
    let mut tasks = Tasks::new();
    spawn(&mut tasks, &token, "hub", |token| hub.run(token));
    if config.source == SourceKind::Kubernetes {
        let publishing = Publishing::new(&config, &ends, refused_tx);
        let token = token.clone();
        tasks.spawn(async move { ("publishing", publishing.run(token).await) });
    }
    tasks.spawn(run_source(config.source, ends.source, token.clone()));
    let asked = (ends.status, ends.views);
    tasks.spawn(run_admin(admin, &facts, asked, token.clone()));
    let dns_token = token.clone();
    tasks.spawn(async move { ("dns", dns.run(responder, dns_token).await) });
    tracing::info!(cluster = %config.cluster, listen = %config.listen, "gateway starts");

    let gateway = Gateway {
        base: tasks,
        base_token: token,
        live: Tasks::new(),
        live_token: CancellationToken::new(),
        deadline: config.shutdown_deadline,
    };
    gateway
        .run_until(shutdown, sessions, ends.serves, facts.readiness)
        .await
}

/// The running tasks, in the two groups that end one after the other.
struct Gateway {
    /// What everything else needs: hub, source, admin, DNS.
    base: Tasks,
    base_token: CancellationToken,
    /// The sessions, which come last and go first.
    live: Tasks,
    live_token: CancellationToken,
    deadline: Duration,
}

impl Gateway {
    /// Opens the sessions once there is something to say, and ends everything on shutdown or when a task fails.
    async fn run_until(
        mut self,
        shutdown: CancellationToken,
        sessions: Sessions,
        serves: CancellationToken,
        readiness: Readiness,
    ) -> anyhow::Result<()> {
        let guard = readiness.guard("sessions");
        let mut failed = tokio::select! {
            () = shutdown.cancelled() => None,
            () = serves.cancelled() => {
                sessions.spawn(&mut self.live, &self.live_token);
                None
            }
            ended = self.base.join_next() => Some(early_end(ended)),
        };
        drop(guard);
        if failed.is_none() {
            failed = tokio::select! {
                () = shutdown.cancelled() => None,
                ended = self.base.join_next() => Some(early_end(ended)),
                ended = self.live.join_next(), if !self.live.is_empty() => Some(early_end(ended)),
            };
        }
        readiness.drain();
        self.end().await;
        failed.map_or(Ok(()), Err)
    }

    /// Peers hear goodbye while everything else still works.
    async fn end(mut self) {
        let ended = async {
            self.live_token.cancel();
            while self.live.join_next().await.is_some() {}
            self.base_token.cancel();
            while self.base.join_next().await.is_some() {}
        };
        if timeout(self.deadline, ended).await.is_err() {
            tracing::warn!(deadline = ?self.deadline, "the shutdown took too long and was cut short");
        }
    }
}

/// Starts a task that cannot fail.
fn spawn<F: Future<Output = ()> + Send + 'static>(
    tasks: &mut Tasks,
    token: &CancellationToken,
    name: &'static str,
    task: impl FnOnce(CancellationToken) -> F,
) {
    let running = task(token.clone());
    tasks.spawn(async move {
        running.await;
        (name, Ok(()))
    });
}

/// What all sessions of this process have in common.
fn session_settings(config: &Config) -> anyhow::Result<Settings> {
    Ok(Settings {
        cluster: config.cluster.clone(),
        instance: start_instance(&config.replica).context("naming this replica (--replica)")?,
        is_node: false,
        credentials: Arc::new(load_credentials(config)?),
        heartbeat_interval: config.heartbeat_interval,
        detect_multiplier: config.detect_multiplier,
    })
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

/// The tasks that talk to other gateways and to nodes, and who saves what is said; they start once there is something to say.
struct Sessions {
    listener: Listener<Admission>,
    dialers: Dialers,
    saver: Option<Saver>,
}

impl Sessions {
    fn bind(
        config: &Config,
        settings: Settings,
        ends: &HubEnds,
        saver: Option<Saver>,
    ) -> anyhow::Result<Self> {
        let admission = Admission {
            cluster: config.cluster.clone(),
            links: ends.links.clone(),
            nodes: NodeResumes::default(),
            feed: ends.feed.clone(),
            reports: ends.reports.clone(),
        };
        let dialers = Dialers {
            trust_domain: config.trust_domain.clone(),
            settings: settings.clone(),
            reports: ends.reports.clone(),
            links: ends.links.clone(),
        };
        let listener = Listener::bind(config.listen, settings, admission)
            .with_context(|| format!("listening at {}", config.listen))?;
        Ok(Self {
            listener,
            dialers,
            saver,
        })
    }

    fn spawn(self, tasks: &mut Tasks, token: &CancellationToken) {
        spawn(tasks, token, "listener", |token| self.listener.run(token));
        spawn(tasks, token, "dialers", |token| self.dialers.run(token));
        if let Some(saver) = self.saver {
            spawn(tasks, token, "saver", |token| saver.run(token));
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
    (requests, views): (
        mpsc::Sender<StatusRequest>,
        watch::Receiver<Option<Arc<View>>>,
    ),
    token: CancellationToken,
) -> impl Future<Output = Ended> + use<> {
    let mut registry = MetricsRegistry::default();
    facts.metrics.register(&mut registry);
    let status = move || {
        let requests = requests.clone();
        async move { ask_status(&requests).await.unwrap_or_default() }
    };
    let state = AdminState::new(Arc::new(registry), facts.readiness.clone(), status).with_dump(
        "/debug/view",
        move |add| {
            let view = views.borrow().clone();
            view.map_or(Ok(()), |view| dump::write(&view, add))
        },
    );
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
