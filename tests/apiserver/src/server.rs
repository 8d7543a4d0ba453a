//! The server that listens: serves, breaks on purpose, and comes back at the same address.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    answering,
    api::{Api, DeleteOptions, Patch, Target, WriteOptions},
    faults::Requests,
    kind::GroupResource,
    state::{Inner, Shared},
};

/// The service ranges where none are given.
const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];

/// How long the `until_*` methods wait.
const WAIT_DEADLINE: Duration = Duration::from_secs(30);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0 for any.
    pub listen: SocketAddr,
    /// The ranges of cluster IPs, at most one per family, the preferred first.
    pub service_cidrs: Vec<(IpAddr, u8)>,
    /// The folder that every write is kept in, so that a server that was killed comes back as it was; made if it is
    /// not there. None: in memory.
    pub data: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let parse = |text: &str| {
            let (address, length) = text.split_once('/')?;
            Some((address.parse().ok()?, length.parse().ok()?))
        };
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            service_cidrs: SERVICE_CIDRS
                .iter()
                .filter_map(|text| parse(text))
                .collect(),
            data: None,
        }
    }
}

/// A Kubernetes API server in this process; it ends when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    life: Mutex<Life>,
}

/// What serves from one start to the next end.
#[derive(Debug, Default)]
struct Life {
    /// Ends the listener and all connections.
    token: CancellationToken,
    listener: Option<JoinHandle<()>>,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.life().token.cancel();
    }
}

impl ApiServer {
    /// Starts a server; needs a tokio runtime.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        let listener = listen(settings.listen)?;
        let address = listener
            .local_addr()
            .context("reading the listener's address")?;
        let mut api = Api::new(&settings.service_cidrs, Timestamp::now());
        if let Some(folder) = &settings.data {
            api.restore(folder)?;
        }
        let shared = Shared::new(api, settings.data);
        let server = Self {
            address,
            shared: Arc::clone(&shared),
            life: Mutex::default(),
        };
        server.begin_life(|token| serve(listener, shared, token));
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig that leads to it.
    pub fn kubeconfig(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "double",
            "clusters": [{"name": "double", "cluster": {"server": self.url()}}],
            "users": [{"name": "double", "user": {}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "double"}}]})
    }

    /// Applies an object as a manager called `fixture`, its status too.
    pub fn apply(&self, object: &Value) -> anyhow::Result<()> {
        self.shared.with(|inner| {
            let (mut target, name) = target(inner, object)?;
            let options = fixture_options(inner);
            let patch = || Patch::Apply(object.clone());
            inner.api.patch(&target, &name, patch(), &options)?;
            if target.kind.has_status && !object["status"].is_null() {
                "status".clone_into(&mut target.subresource);
                inner.api.patch(&target, &name, patch(), &options)?;
            }
            Ok(())
        })
    }

    /// Deletes the object that has this one's kind and name.
    pub fn delete(&self, object: &Value) -> anyhow::Result<()> {
        self.shared.with(|inner| {
            let (target, name) = target(inner, object)?;
            let options = fixture_options(inner);
            let conditions = DeleteOptions::default();
            inner.api.delete(&target, &name, &conditions, &options)?;
            Ok(())
        })
    }

    /// The object that has this one's kind and name, as it is.
    pub fn get(&self, object: &Value) -> anyhow::Result<Value> {
        self.shared.with(|inner| {
            let (target, name) = target(inner, object)?;
            Ok(inner.api.get(&target, &name)?)
        })
    }

    /// Ends all connections and refuses new ones until [`Self::resume`].
    pub async fn refuse_connections(&self) {
        self.end_life().await;
    }

    /// Ends all connections; new ones are taken but never answered until [`Self::resume`].
    pub async fn hang(&self) -> anyhow::Result<()> {
        self.end_life().await;
        let listener = listen(self.address)?;
        self.begin_life(|token| hang(listener, token));
        Ok(())
    }

    /// Serves again after [`Self::refuse_connections`] or [`Self::hang`].
    pub async fn resume(&self) -> anyhow::Result<()> {
        self.end_life().await;
        let listener = listen(self.address)?;
        self.begin_life(|token| serve(listener, Arc::clone(&self.shared), token));
        Ok(())
    }

    /// Ends all connections and serves anew; what happened before is compacted.
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.end_life().await;
        self.compact();
        self.resume().await
    }

    /// Forgets what happened up to now: watches from before get 410 Gone.
    pub fn compact(&self) {
        self.shared.with(|inner| inner.api.store.compact());
    }

    /// Ends all watches, as the end of their time does.
    pub fn cut_watches(&self) {
        self.shared.wake(|inner| inner.watch_life += 1);
    }

    /// Lets watches say nothing, or all that they have not said.
    pub fn pause_watches(&self, is_paused: bool) {
        self.shared.wake(|inner| inner.faults.is_paused = is_paused);
    }

    /// Refuses verbs on a kind with 403; no verbs means all.
    pub fn forbid(&self, group: &str, plural: &str, verbs: &[&str]) {
        let verbs = verbs.iter().map(|&verb| verb.to_owned()).collect();
        let resource = GroupResource::new(group, plural);
        self.shared
            .wake(|inner| inner.faults.forbidden.insert(resource, verbs));
    }

    /// Takes [`Self::forbid`] back.
    pub fn permit(&self, group: &str, plural: &str) {
        let resource = GroupResource::new(group, plural);
        self.shared
            .wake(|inner| inner.faults.forbidden.remove(&resource));
    }

    /// Lets each list wait before it is answered.
    pub fn delay_lists(&self, delay: Duration) {
        self.shared.wake(|inner| inner.faults.list_delay = delay);
    }

    /// Refuses streaming lists, as servers before Kubernetes 1.32 do.
    pub fn refuse_streaming_lists(&self) {
        self.shared
            .wake(|inner| inner.faults.lacks_streaming_lists = true);
    }

    /// Sets the clock, which gives creation times, ahead.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.wake(|inner| inner.clock_ahead += by);
    }

    /// What clients have asked for with a verb about a kind.
    pub fn requests(&self, verb: &str, group: &str, plural: &str) -> Requests {
        let resource = GroupResource::new(group, plural);
        self.shared.with(|inner| inner.tally.of(verb, &resource))
    }

    /// Waits until so many watches of a kind are open.
    pub async fn until_watched(&self, plural: &str, count: usize) -> anyhow::Result<()> {
        self.until(|inner| inner.open_watches.get(plural).copied().unwrap_or_default() >= count)
            .await
            .with_context(|| format!("waiting for {count} watches of {plural}"))
    }

    /// Waits until so many requests of a verb about a kind were made.
    pub async fn until_requests(
        &self,
        verb: &str,
        group: &str,
        plural: &str,
        count: usize,
    ) -> anyhow::Result<()> {
        let resource = GroupResource::new(group, plural);
        self.until(|inner| inner.tally.of(verb, &resource).count >= count)
            .await
            .with_context(|| format!("waiting for {count} requests to {verb} {plural}"))
    }

    async fn until(&self, is_reached: impl Fn(&Inner) -> bool) -> anyhow::Result<()> {
        let mut changed = self.shared.subscribe();
        let reached = async {
            while !self.shared.with(|inner| is_reached(inner)) {
                changed.changed().await?;
            }
            anyhow::Ok(())
        };
        timeout(WAIT_DEADLINE, reached).await?
    }

    fn begin_life<F: Future<Output = ()> + Send + 'static>(
        &self,
        run: impl FnOnce(CancellationToken) -> F,
    ) {
        let token = CancellationToken::new();
        let listener = tokio::spawn(run(token.clone()));
        *self.life() = Life {
            token,
            listener: Some(listener),
        };
    }

    /// Ends the present life; when this returns, the address is free.
    async fn end_life(&self) {
        let life = std::mem::take(&mut *self.life());
        life.token.cancel();
        if let Some(listener) = life.listener {
            // It ends with its token, and has nothing to say.
            drop(listener.await);
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an object is, by its kind, namespace and name.
fn target(inner: &Inner, object: &Value) -> anyhow::Result<(Target, String)> {
    let (kind, version) = inner.api.kind_of(object).with_context(|| {
        let (kind, version) = (&object["kind"], &object["apiVersion"]);
        format!("no kind {kind} in {version} is served")
    })?;
    let metadata = &object["metadata"];
    let name = metadata["name"]
        .as_str()
        .context("the object has no name")?;
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let target = Target {
        namespace: kind.namespaced.then(|| namespace.to_owned()),
        kind,
        version,
        name: Some(name.to_owned()),
        subresource: String::new(),
    };
    Ok((target, name.to_owned()))
}

fn fixture_options(inner: &Inner) -> WriteOptions {
    WriteOptions {
        manager: "fixture".to_owned(),
        is_dry_run: false,
        is_forced: true,
        is_strict: true,
        now: inner.now(),
    }
}

/// Listens so that the next life can follow at once at the same address.
fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let socket = socket.context("making a socket")?;
    socket.set_reuseaddr(true).context("setting SO_REUSEADDR")?;
    // A listener that was told to end still holds the address for a moment.
    socket.set_reuseport(true).context("setting SO_REUSEPORT")?;
    socket
        .bind(address)
        .with_context(|| format!("binding to {address}"))?;
    socket
        .listen(1_024)
        .with_context(|| format!("listening at {address}"))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, life: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = life.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((stream, _)) = accepted {
            tokio::spawn(serve_connection(stream, Arc::clone(&shared), life.clone()));
        }
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>, life: CancellationToken) {
    let service = service_fn(move |request| answering::answer(Arc::clone(&shared), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = life.cancelled() => {}
        // A client that goes away mid-answer is none of the server's business.
        _ended = connection => {}
    }
}

async fn hang(listener: TcpListener, life: CancellationToken) {
    let mut held = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = life.cancelled() => return,
            accepted = listener.accept() => held.extend(accepted),
        }
    }
}
