//! The Kubernetes API source: watches of the API server's Services, EndpointSlices, Nodes and Namespaces.
//!
//! It needs the verbs `list` and `watch` on these four, in all namespaces. What the API server says is converted as it
//! arrives and the original dropped; of Namespaces only the metadata is asked for.

mod follower;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Config, Error, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::follower::{Fact, Follower, Kind, News, Seen};
use crate::{
    convert::{Convert, SERVICE_NAME_LABEL, SERVICE_PROXY_NAME_LABEL},
    source::{SourceEvent, Teller, TraceHook},
};

/// How long one watch call lasts, in seconds; also the longest that a silently dead connection goes unnoticed.
const WATCH_SECONDS: u32 = 60;

/// How long a watch that failed must not fail again to be deemed well: attempts come at most 30 s apart, with as much
/// again by chance, and a connection attempt gives up after another 30 s.
const RECOVERY_SILENCE: Duration = Duration::from_secs(100);

/// How many facts that are there at once are told as one batch: a rolling update's burst, without holding it up.
const BATCH: usize = 256;

/// Follows the objects of one Kubernetes API server.
#[derive(Clone)]
pub struct KubernetesSource {
    client: Client,
    trace_hook: Option<TraceHook>,
}

impl fmt::Debug for KubernetesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesSource").finish_non_exhaustive()
    }
}

impl KubernetesSource {
    /// A source that asks through this client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            trace_hook: None,
        }
    }

    /// Asks the hook for the trace context of each batch of changes.
    #[must_use]
    pub fn with_trace_hook(mut self, hook: TraceHook) -> Self {
        self.trace_hook = Some(hook);
        self
    }

    /// Runs until the token is cancelled or nobody receives the events any more; it is cancel safe.
    ///
    /// The snapshot comes when all kinds are listed; failures are problems, and are tried again for ever.
    pub async fn run(self, events: mpsc::Sender<SourceEvent>, shutdown: CancellationToken) {
        let receiver_gone = events.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = receiver_gone.closed() => {}
            () = self.follow(events) => {}
        }
    }

    async fn follow(self, events: mpsc::Sender<SourceEvent>) {
        let mut teller = Teller::new("kubernetes", events, self.trace_hook);
        let mut follower = Follower::default();
        let mut has_told = false;
        let facts = stream::select_all(Kind::ALL.map(|kind| self.facts(kind)));
        let mut batches = facts.ready_chunks(BATCH);
        while let Some(batch) = batches.next().await {
            for fact in batch {
                follower.handle(fact);
            }
            let told = match follower.index() {
                None => Ok(()),
                Some(index) if has_told => teller.tell_changes(index.take_changes()).await,
                Some(index) => {
                    has_told = true;
                    teller.tell_snapshot(index.take_snapshot()).await
                }
            };
            if told.is_err() || teller.tell_problems(follower.problems()).await.is_err() {
                return;
            }
        }
    }

    fn facts(&self, kind: Kind) -> BoxStream<'static, Fact> {
        let client = self.client.clone();
        let config = Config::default().timeout(WATCH_SECONDS);
        let ours = format!("!{SERVICE_PROXY_NAME_LABEL}");
        match kind {
            Kind::Namespace => {
                facts::<PartialObjectMeta<Namespace>>(kind, Api::all(client), config)
            }
            Kind::Node => facts::<Node>(kind, Api::all(client), config),
            Kind::Service => facts::<Service>(kind, Api::all(client), config.labels(&ours)),
            Kind::EndpointSlice => {
                let labels = format!("{SERVICE_NAME_LABEL},{ours}");
                facts::<EndpointSlice>(kind, Api::all(client), config.labels(&labels))
            }
        }
    }
}

fn facts<T>(kind: Kind, api: Api<T>, config: Config) -> BoxStream<'static, Fact>
where
    T: Convert + Resource + Clone + DeserializeOwned + Send + 'static,
{
    let events = watcher(api, config).default_backoff().boxed();
    let facts = stream::unfold(
        (events, false),
        move |(mut events, has_failed)| async move {
            loop {
                let event = next_or_silence(&mut events, has_failed).await?;
                let Some(news) = news(kind, event) else {
                    continue;
                };
                let has_failed = match news {
                    News::Failed(_) => true,
                    News::Begin => has_failed,
                    News::Present(_) | News::Gone(_) | News::End | News::Recovered => false,
                };
                return Some((Fact { kind, news }, (events, has_failed)));
            }
        },
    );
    facts.boxed()
}

/// What a watch gives next; `Some(None)` when it has been silent for long after a failure.
///
/// A watch that is resumed says nothing until an object changes.
async fn next_or_silence<E>(
    events: &mut BoxStream<'static, E>,
    has_failed: bool,
) -> Option<Option<E>> {
    if !has_failed {
        return events.next().await.map(Some);
    }
    match tokio::time::timeout(RECOVERY_SILENCE, events.next()).await {
        Ok(event) => event.map(Some),
        Err(_silence) => Some(None),
    }
}

/// What an event says; `None` of one that says nothing to us.
fn news<T: Convert>(kind: Kind, event: Option<watcher::Result<Event<T>>>) -> Option<News> {
    Some(match event {
        None => News::Recovered,
        Some(Ok(Event::Init)) => News::Begin,
        Some(Ok(Event::InitApply(object) | Event::Apply(object))) => {
            News::Present(Seen::new(&object))
        }
        Some(Ok(Event::InitDone)) => News::End,
        Some(Ok(Event::Delete(object))) => News::Gone(object.key()),
        Some(Err(error @ (Error::WatchFailed(_) | Error::WatchError(_)))) => {
            // Connections end and places in the history expire; only failing to go on from there is a problem.
            tracing::debug!(kind = kind.plural(), %error, "a watch broke off");
            return None;
        }
        Some(Err(
            error @ (Error::InitialListFailed(_)
            | Error::WatchStartFailed(_)
            | Error::NoResourceVersion),
        )) => News::Failed(error.to_string()),
    })
}
