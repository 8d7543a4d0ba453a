//! Follows the objects of one kind: lists or streams them, watches them, and finds the way around what servers lack.
//!
//! Source and sink both watch in this way; it never ends.

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
pub(crate) async fn initial_strategy(client: &Client) -> InitialListStrategy {
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

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Told<K> {
    /// What the API server said.
    Event(Event<K>),
    /// It could not be asked; the watch goes on trying.
    Failed(Failure),
    /// It did not fail again for long enough to be deemed well.
    Recovered,
}

/// Why the API server did not answer with objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It does not know the kind.
    NotInstalled,
    /// Its access rules forbid it.
    Forbidden(String),
    /// Anything else.
    Other(String),
}

/// One kind's watch.
pub(crate) struct Following<K> {
    plural: &'static str,
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
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// A watch of a kind, by its plural, in one of its versions, of which the first is preferred.
    pub(crate) fn new(plural: &'static str, apis: Vec<Api<K>>, config: Config) -> Self {
        let mut following = Self {
            plural,
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

    /// The version that is followed, by its place among those that were given.
    pub(crate) fn version(&self) -> usize {
        self.at
    }

    /// What is told next; it is cancel safe but for the wait after a failure, which then ends early.
    pub(crate) async fn next(&mut self) -> Told<K> {
        loop {
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            match self.next_or_silence().await {
                None => {
                    self.has_failed = false;
                    return Told::Recovered;
                }
                // Watchers do not end; one that did would have to begin anew.
                Some(None) => {
                    self.restart();
                    self.pause = self.backoff.next();
                }
                Some(Some(Err(error))) => {
                    if let Some(failure) = self.handle_error(&error) {
                        self.has_failed = true;
                        return Told::Failed(failure);
                    }
                }
                Some(Some(Ok(event))) => {
                    self.backoff.reset();
                    // The beginning of a list is an attempt, which is no success yet.
                    self.has_failed &= matches!(event, Event::Init);
                    return Told::Event(event);
                }
            }
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
                tracing::debug!(kind = self.plural, %error, "a watch broke off");
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
                tracing::debug!(kind = self.plural, %error, "streaming lists are refused");
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
