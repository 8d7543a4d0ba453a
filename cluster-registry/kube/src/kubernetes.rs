//! The Kubernetes API source: watches of the API server's Services, EndpointSlices, Nodes and Namespaces, and of the kinds
//! ServiceExport, ServiceImport and ClusterLink where they are installed.
//!
//! It needs the verbs `list` and `watch` on these, in all namespaces. What the API server says is converted as it
//! arrives and the original dropped; of Namespaces only the metadata is asked for.

mod follower;

use std::fmt;

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
    runtime::watcher::{Config, InitialListStrategy},
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{self, error::SendError};
use tokio_util::sync::CancellationToken;

use self::follower::{Fact, Follower, Kind, News};
use crate::{
    api::{ClusterLink, McsVersion, ServiceExport, ServiceImport},
    convert::{Convert, SERVICE_NAME_LABEL, SERVICE_PROXY_NAME_LABEL},
    following::{self, Following},
    source::{SourceEvent, Teller, TraceHook},
};

/// How long one watch call lasts, in seconds; also the longest that a silently dead connection goes unnoticed.
const WATCH_SECONDS: u32 = 60;

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
        let strategy = following::initial_strategy(&self.client).await;
        let facts = stream::select_all(Kind::ALL.map(|kind| self.facts(kind, &strategy)));
        let mut batches = facts.ready_chunks(BATCH);
        while let Some(batch) = batches.next().await {
            for fact in batch {
                follower.handle(fact);
            }
            if tell(&mut teller, &mut follower, &mut has_told)
                .await
                .is_err()
            {
                return;
            }
        }
    }

    fn facts(&self, kind: Kind, strategy: &InitialListStrategy) -> BoxStream<'static, Fact> {
        let client = self.client.clone();
        let config = Config {
            initial_list_strategy: strategy.clone(),
            ..Config::default().timeout(WATCH_SECONDS)
        };
        let ours = format!("!{SERVICE_PROXY_NAME_LABEL}");
        match kind {
            Kind::Namespace => {
                follow::<PartialObjectMeta<Namespace>>(kind, Api::all(client), config)
            }
            Kind::Node => follow::<Node>(kind, Api::all(client), config),
            Kind::Service => follow::<Service>(kind, Api::all(client), config.labels(&ours)),
            Kind::EndpointSlice => {
                let labels = format!("{SERVICE_NAME_LABEL},{ours}");
                follow::<EndpointSlice>(kind, Api::all(client), config.labels(&labels))
            }
            Kind::ServiceExport => follow_versions::<ServiceExport>(kind, client, config),
            Kind::ServiceImport => follow_versions::<ServiceImport>(kind, client, config),
            Kind::ClusterLink => follow::<ClusterLink>(kind, Api::all(client), config),
        }
    }
}

/// What is said of a kind.
fn follow<K>(kind: Kind, api: Api<K>, config: Config) -> BoxStream<'static, Fact>
where
    K: Convert + Resource + Clone + DeserializeOwned + Send + 'static,
{
    facts(kind, Following::new(kind.plural(), vec![api], config))
}

/// What is said of a kind of the Multi-Cluster Services API, in the version that is served.
fn follow_versions<K>(kind: Kind, client: Client, config: Config) -> BoxStream<'static, Fact>
where
    K: Convert + Resource<DynamicType = McsVersion>,
    K: Clone + DeserializeOwned + Send + 'static,
{
    let versions = McsVersion::ALL;
    let apis = versions.map(|version| Api::<K>::all_with(client.clone(), &version));
    facts(kind, Following::new(kind.plural(), apis.into(), config))
}

fn facts<K>(kind: Kind, following: Following<K>) -> BoxStream<'static, Fact>
where
    K: Convert + Resource + Clone + DeserializeOwned + Send + 'static,
{
    let facts = stream::unfold(following, move |mut following| async move {
        let news = News::of(following.next().await);
        Some((Fact { kind, news }, following))
    });
    facts.boxed()
}

/// Tells what has changed since the last time; an error when nobody listens any more.
async fn tell(
    teller: &mut Teller,
    follower: &mut Follower,
    has_told: &mut bool,
) -> Result<(), SendError<()>> {
    if let Some(index) = follower.index() {
        // Links go first: what peers may do counts before what they are told.
        teller.tell_links(index.take_links()).await?;
        if *has_told {
            teller.tell_changes(index.take_changes()).await?;
        } else {
            *has_told = true;
            teller.tell_snapshot(index.take_snapshot()).await?;
        }
    }
    teller.tell_problems(follower.problems()).await
}

#[cfg(test)]
mod tests;
