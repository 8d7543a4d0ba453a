//! Follows the objects of one kind: lists or streams them, watches them, and finds the way around what servers lack.

use std::{fmt::Debug, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, Resource,
    core::Status,
    runtime::{
        utils::Backoff,
        watcher::{self, Config, DefaultBackoff, Error, Event, InitialListStrategy, watcher},
    },
};
use serde::de::DeserializeOwned;

use super::follower::{Fact, Failure, Kind, News, Seen};
use crate::{api::McsVersion, convert::Convert};

/// How long a watch that failed must not fail again to be deemed well: attempts come at most 30 s apart, with as much
/// again by chance, and a connection attempt gives up after another 30 s.
const RECOVERY_SILENCE: Duration = Duration::from_secs(100);

/// How long the server may take to tell its version before lists are chosen, which every version has.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);

/// Kubernetes 1.32 is the first to have streaming lists switched on.
const STREAMING_SINCE: (u32, u32) = (1, 32);

/// Streaming lists, which cost the server less, where its version has them.
///
/// Versions long before would ignore the wish and never say that the list is complete, so only the version can tell.
pub(super) async fn initial_strategy(client: &Client) -> InitialListStrategy {
    let told = tokio::time::timeout(VERSION_DEADLINE, client.apiserver_version()).await;
    let Ok(Ok(version)) = told else {
        return InitialListStrategy::ListWatch;
    };
    // Some vendors add a '+' to the minor number.
    let number = |text: &str| text.trim_end_matches('+').parse().unwrap_or_default();
    let version = (number(&version.major), number(&version.minor));
    if version < STREAMING_SINCE {
        return InitialListStrategy::ListWatch;
    }
    InitialListStrategy::StreamingList
}

/// What is said of a kind.
pub(super) fn follow<K>(kind: Kind, api: Api<K>, config: Config) -> BoxStream<'static, Fact>
where
    K: Convert + Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    facts(Following::new(kind, vec![api], config))
}

/// What is said of a kind of the Multi-Cluster Services API, in the version that is served.
pub(super) fn follow_versions<K>(
    kind: Kind,
    client: Client,
    config: Config,
) -> BoxStream<'static, Fact>
where
    K: Convert + Resource<DynamicType = McsVersion>,
    K: Clone + DeserializeOwned + Debug + Send + 'static,
{
    let preferred = McsVersion::default();
    let versions = [preferred, preferred.other()];
    let apis = versions.map(|version| Api::<K>::all_with(client.clone(), &version));
    facts(Following::new(kind, apis.into(), config))
}

fn facts<K>(following: Following<K>) -> BoxStream<'static, Fact>
where
    K: Convert + Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let facts = stream::unfold(following, |mut following| async move {
        let news = following.next().await;
        let kind = following.kind;
        Some((Fact { kind, news }, following))
    });
    facts.boxed()
}

/// One kind's watch.
struct Following<K> {
    kind: Kind,
    /// The versions of the kind, the preferred first.
    apis: Vec<Api<K>>,
    at: usize,
    config: Config,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    backoff: DefaultBackoff,
    /// How long to wait before the next attempt.
    pause: Option<Duration>,
    has_failed: bool,
}

/// How to go on after an error.
enum Remedy {
    /// The watch goes on by itself.
    GoOn,
    /// It must begin anew, as it would try the same for ever.
    Restart,
    /// It can begin anew at once, in another way.
    TryOther,
}

impl<K> Following<K>
where
    K: Convert + Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    fn new(kind: Kind, apis: Vec<Api<K>>, config: Config) -> Self {
        let mut following = Self {
            kind,
            apis,
            at: 0,
            config,
            events: stream::empty().boxed(),
            backoff: DefaultBackoff::default(),
            pause: None,
            has_failed: false,
        };
        following.restart();
        following
    }

    fn restart(&mut self) {
        if let Some(api) = self.apis.get(self.at) {
            self.events = watcher(api.clone(), self.config.clone()).boxed();
        }
    }

    async fn next(&mut self) -> News {
        loop {
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            let news = match self.next_or_silence().await {
                None => {
                    self.has_failed = false;
                    return News::Recovered;
                }
                // Watchers do not end; one that did would have to begin anew.
                Some(None) => {
                    self.restart();
                    self.pause = self.backoff.next();
                    continue;
                }
                Some(Some(Err(error))) => match self.handle_error(&error) {
                    Some(failure) => News::Failed(failure),
                    None => continue,
                },
                Some(Some(Ok(event))) => {
                    self.backoff.reset();
                    news(event)
                }
            };
            self.has_failed = match news {
                News::Failed(_) => true,
                News::Begin => self.has_failed,
                News::Present(_) | News::Gone(_) | News::End | News::Recovered => false,
            };
            return news;
        }
    }

    /// What the watch gives next; `None` when it has been silent for long after a failure.
    ///
    /// A watch that is resumed says nothing until an object changes.
    async fn next_or_silence(&mut self) -> Option<Option<watcher::Result<Event<K>>>> {
        if !self.has_failed {
            return Some(self.events.next().await);
        }
        let next = tokio::time::timeout(RECOVERY_SILENCE, self.events.next()).await;
        next.ok()
    }

    /// Sees to it that the watch goes on; returns what is to be told, if anything is.
    fn handle_error(&mut self, error: &Error) -> Option<Failure> {
        match self.remedy(error) {
            Remedy::TryOther => {
                self.restart();
                return None;
            }
            Remedy::Restart => self.restart(),
            Remedy::GoOn => {}
        }
        self.pause = self.backoff.next();
        match error {
            // Connections end and places in the history expire; only failing to go on from there is a problem.
            Error::WatchFailed(_) | Error::WatchError(_) => {
                tracing::debug!(kind = self.kind.plural(), %error, "a watch broke off");
                None
            }
            Error::InitialListFailed(_) | Error::WatchStartFailed(_) | Error::NoResourceVersion => {
                Some(failure(error))
            }
        }
    }

    fn remedy(&mut self, error: &Error) -> Remedy {
        let code = status(error).map(|status| status.code);
        let is_streaming = self.config.initial_list_strategy == InitialListStrategy::StreamingList;
        match code {
            Some(400 | 422) if is_streaming => {
                tracing::debug!(kind = self.kind.plural(), %error, "streaming lists are refused");
                self.config.initial_list_strategy = InitialListStrategy::ListWatch;
                Remedy::TryOther
            }
            Some(404) => {
                self.at += 1;
                if self.at < self.apis.len() {
                    return Remedy::TryOther;
                }
                self.at = 0;
                Remedy::Restart
            }
            Some(410) => Remedy::Restart,
            Some(_) | None => Remedy::GoOn,
        }
    }
}

/// What the API server said; `None` when it was not the API server that failed.
fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => Some(status),
        Error::InitialListFailed(_)
        | Error::WatchStartFailed(_)
        | Error::WatchFailed(_)
        | Error::NoResourceVersion => None,
    }
}

fn failure(error: &Error) -> Failure {
    match status(error).map(|status| status.code) {
        Some(404) => Failure::NotInstalled,
        Some(403) => Failure::Forbidden(error.to_string()),
        Some(_) | None => Failure::Other(error.to_string()),
    }
}

/// What an event says.
fn news<K: Convert>(event: Event<K>) -> News {
    match event {
        Event::Init => News::Begin,
        Event::InitApply(object) | Event::Apply(object) => News::Present(Seen::new(&object)),
        Event::InitDone => News::End,
        Event::Delete(object) => News::Gone(object.key()),
    }
}
