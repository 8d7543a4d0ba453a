//! One watch: which lines it is told next.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::{
    api::{ListOptions, Target, in_version},
    form::Form,
    meta,
    refusal::Refusal,
    selector::Selector,
    state::{Inner, Shared},
    store::Change,
};

/// The annotation of the bookmark that ends a streaming list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// How a watch is meant.
#[derive(Debug)]
pub(crate) struct WatchOptions {
    pub(crate) selector: Selector,
    pub(crate) form: Form,
    /// Where to go on from; `None` to begin with what is there.
    pub(crate) after: Option<u64>,
    pub(crate) sends_initial_events: bool,
    pub(crate) wants_bookmarks: bool,
    pub(crate) timeout: Duration,
}

/// A running watch.
struct Watch {
    shared: Arc<Shared>,
    target: Target,
    options: WatchOptions,
    after: u64,
    life: u64,
    deadline: Instant,
    next_bookmark: Instant,
    changed: watch::Receiver<u64>,
    first: Option<String>,
    is_over: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let plural = self.target.kind.resource.plural.clone();
        self.shared.wake(|inner| {
            let open = inner.open_watches.entry(plural).or_default();
            *open = open.saturating_sub(1);
        });
    }
}

/// Begins a watch: its lines, or why it cannot begin.
pub(crate) fn start(
    shared: &Arc<Shared>,
    target: Target,
    options: WatchOptions,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, Refusal> {
    let changed = shared.subscribe();
    let started = Instant::now();
    let (after, life, first) = shared.wake(|inner| {
        let plural = target.kind.resource.plural.clone();
        let (after, first) = match options.after {
            // A place that has expired is told by the watch's first event, not by the answer.
            Some(after) if !options.sends_initial_events => (after, None),
            Some(_) | None => {
                let first = initial(inner, &target, &options)?;
                (inner.api.store.revision(), Some(first))
            }
        };
        *inner.open_watches.entry(plural).or_default() += 1;
        Ok((after, inner.watch_life, first))
    })?;
    let watch = Watch {
        shared: Arc::clone(shared),
        target,
        after,
        life,
        deadline: started + options.timeout,
        next_bookmark: started + shared.bookmark_interval,
        options,
        changed,
        first,
        is_over: false,
    };
    Ok(stream::unfold(watch, |mut watch| async move {
        let lines = watch.next().await?;
        Some((Bytes::from(lines), watch))
    }))
}

fn initial(inner: &Inner, target: &Target, options: &WatchOptions) -> Result<String, Refusal> {
    let list = ListOptions {
        selector: options.selector.clone(),
        ..ListOptions::default()
    };
    let list = inner.api.list(target, &list)?;
    let mut lines = String::new();
    for item in list["items"].as_array().into_iter().flatten() {
        let object = options
            .form
            .object(item.clone(), &target.kind, &target.version, inner.now());
        push(&mut lines, "ADDED", &object);
    }
    if options.sends_initial_events && options.wants_bookmarks {
        let mut mark = bookmark(target, inner.api.store.revision());
        mark["metadata"]["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        push(&mut lines, "BOOKMARK", &mark);
    }
    Ok(lines)
}

impl Watch {
    /// The next lines; `None` when the watch is over.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take()
            && !first.is_empty()
        {
            return Some(first);
        }
        loop {
            if self.is_over {
                return None;
            }
            self.changed.mark_unchanged();
            let lines = self.news()?;
            if !lines.is_empty() {
                return Some(lines);
            }
            let bookmark = self.options.wants_bookmarks.then_some(self.next_bookmark);
            let next = bookmark.map_or(self.deadline, |at| at.min(self.deadline));
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                () = tokio::time::sleep_until(next) => {
                    self.is_over = next == self.deadline;
                    if self.options.wants_bookmarks {
                        self.next_bookmark = Instant::now() + self.shared.bookmark_interval;
                        return Some(self.bookmark());
                    }
                }
            }
        }
    }

    fn bookmark(&mut self) -> String {
        let mut lines = String::new();
        let revision = self.shared.with(|inner| inner.api.store.revision());
        self.after = self.after.max(revision);
        push(&mut lines, "BOOKMARK", &bookmark(&self.target, revision));
        lines
    }

    /// What has happened since; `None` when the watch was ended from outside.
    fn news(&mut self) -> Option<String> {
        let (target, options, after, life) = (&self.target, &self.options, self.after, self.life);
        let (lines, after, is_over) = self.shared.with(|inner| {
            if inner.watch_life != life || !inner.api.has_kind(&target.kind.resource) {
                return None;
            }
            if inner.faults.is_paused {
                return Some((String::new(), after, false));
            }
            let store = &inner.api.store;
            let mut lines = String::new();
            let Some(changes) = store.changes_after(after) else {
                let refusal = Refusal::expired(after, store.floor());
                push(&mut lines, "ERROR", &refusal.status());
                return Some((lines, after, true));
            };
            for change in changes {
                if let Some((kind, object)) = event(change, target, &options.selector) {
                    let object = in_version(&object, target);
                    let object =
                        options
                            .form
                            .object(object, &target.kind, &target.version, inner.now());
                    push(&mut lines, kind, &object);
                }
            }
            Some((lines, store.revision(), false))
        })?;
        self.after = after;
        self.is_over = is_over;
        Some(lines)
    }
}

/// What a change is to a watch with a selector; `None` when it is nothing.
fn event(
    change: &Change,
    target: &Target,
    selector: &Selector,
) -> Option<(&'static str, Arc<Value>)> {
    let is_ours = change.name.resource == target.kind.resource
        && target
            .namespace
            .as_ref()
            .is_none_or(|ns| *ns == change.name.namespace)
        && target
            .name
            .as_ref()
            .is_none_or(|name| *name == change.name.name);
    if !is_ours {
        return None;
    }
    let matched = change
        .before
        .as_ref()
        .is_some_and(|before| selector.matches(before));
    let matches = !change.is_deletion && selector.matches(&change.object);
    match (matched, matches) {
        (false, true) => Some(("ADDED", Arc::clone(&change.object))),
        (true, true) => Some(("MODIFIED", Arc::clone(&change.object))),
        (true, false) => {
            // It leaves as it was seen, at the revision at which it left.
            let mut gone = change.before.as_deref().cloned().unwrap_or_default();
            let metadata = meta::of_mut(&mut gone);
            metadata.insert(
                "resourceVersion".to_owned(),
                json!(change.revision.to_string()),
            );
            Some(("DELETED", Arc::new(gone)))
        }
        (false, false) => None,
    }
}

fn bookmark(target: &Target, revision: u64) -> Value {
    json!({"kind": target.kind.kind, "apiVersion": target.kind.api_version(&target.version),
        "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null}})
}

fn push(lines: &mut String, kind: &str, object: &Value) {
    let event = json!({"type": kind, "object": object});
    lines.push_str(&event.to_string());
    lines.push('\n');
}
