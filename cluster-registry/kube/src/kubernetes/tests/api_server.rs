//! A small Kubernetes API server: lists in pages, watches from a resource version, bookmarks, and expired versions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch;

/// The server; it ends with the runtime of its test.
pub(super) struct ApiServer {
    url: Uri,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<ServerState>,
    /// Wakes the watches.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct ServerState {
    version: u64,
    /// Versions at or below are forgotten.
    floor: u64,
    objects: BTreeMap<(String, String), Value>,
    /// Each watch event with its version and the plural of its kind.
    history: Vec<(u64, String, Value)>,
    /// Watches of an older life than this have ended.
    life: u64,
    is_paused: bool,
    refused: BTreeMap<String, bool>,
    lists: BTreeMap<String, usize>,
    selectors: BTreeMap<String, String>,
    accepts: BTreeMap<String, String>,
    /// How far each kind's watch has been told.
    told: BTreeMap<String, u64>,
}

/// Whose state, of which kind, after which version, and what wakes it.
type Watch = (Arc<Shared>, String, u64, watch::Receiver<()>);

type Params = BTreeMap<String, String>;

impl ApiServer {
    pub(super) async fn start() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(ServerState {
                version: 1,
                ..ServerState::default()
            }),
            changed: watch::Sender::new(()),
        });
        let routes = Router::new()
            .route("/api/v1/{plural}", get(answer))
            .route("/apis/discovery.k8s.io/v1/{plural}", get(answer))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            url: url.parse().unwrap(),
            shared,
        }
    }

    pub(super) fn url(&self) -> Uri {
        self.url.clone()
    }

    /// Makes or changes an object.
    pub(super) fn set(&self, plural: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let key = (plural.to_owned(), name);
        let kind = if state.objects.contains_key(&key) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        state.objects.insert(key, object.clone());
        let event = json!({"type": kind, "object": object});
        state.history.push((version, plural.to_owned(), event));
        drop(state);
        self.shared.changed.send_replace(());
    }

    pub(super) fn delete(&self, plural: &str, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let mut object = state
            .objects
            .remove(&(plural.to_owned(), name.to_owned()))
            .unwrap();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let event = json!({"type": "DELETED", "object": object});
        state.history.push((version, plural.to_owned(), event));
        drop(state);
        self.shared.changed.send_replace(());
    }

    /// Tells every watch the newest version.
    pub(super) fn bookmark(&self) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        for plural in ["services", "nodes", "namespaces", "endpointslices"] {
            let object = json!({"kind": "Bookmark", "apiVersion": "v1",
                "metadata": {"resourceVersion": version.to_string()}});
            let event = json!({"type": "BOOKMARK", "object": object});
            state.history.push((version, plural.to_owned(), event));
        }
        drop(state);
        self.shared.changed.send_replace(());
    }

    /// Forgets what happened: older versions have expired.
    pub(super) fn forget_history(&self) {
        let mut state = self.state();
        state.floor = state.version;
        state.history.clear();
    }

    /// Ends all watches.
    pub(super) fn cut(&self) {
        self.state().life += 1;
        self.shared.changed.send_replace(());
    }

    /// Tells the watches nothing until [`Self::resume`].
    pub(super) fn pause(&self) {
        self.state().is_paused = true;
    }

    pub(super) fn resume(&self) {
        self.state().is_paused = false;
        self.shared.changed.send_replace(());
    }

    pub(super) fn refuse(&self, plural: &str, is_refused: bool) {
        self.state().refused.insert(plural.to_owned(), is_refused);
    }

    /// How many lists, or pages of them, were asked for.
    pub(super) fn lists(&self, plural: &str) -> usize {
        self.state().lists[plural]
    }

    pub(super) fn selector(&self, plural: &str) -> String {
        self.state().selectors[plural].clone()
    }

    pub(super) fn accept(&self, plural: &str) -> String {
        self.state().accepts[plural].clone()
    }

    /// Waits until a watch has begun.
    pub(super) async fn until_watched(&self, plural: &str) {
        self.until(|state| state.told.contains_key(plural)).await;
    }

    /// Waits until a watch has been told all there is.
    pub(super) async fn until_told(&self, plural: &str) {
        self.until(|state| state.told.get(plural) == Some(&state.version))
            .await;
    }

    async fn until(&self, is_reached: impl Fn(&ServerState) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let reached = changed.wait_for(|()| is_reached(&self.state()));
        let reached = tokio::time::timeout(super::DEADLINE, reached).await;
        reached.expect("nobody watches").unwrap();
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.shared.state.lock().unwrap()
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(plural): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Response {
    if shared.state.lock().unwrap().refused.get(&plural) == Some(&true) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
            "reason": "Forbidden", "message": format!("{plural} is forbidden: no rule allows it")});
        return (StatusCode::FORBIDDEN, Json(status)).into_response();
    }
    if params
        .get("watch")
        .is_some_and(|watch| watch == "true" || watch == "1")
    {
        let after = params["resourceVersion"].parse().unwrap();
        return watch(shared, plural, after);
    }
    let mut state = shared.state.lock().unwrap();
    *state.lists.entry(plural.clone()).or_default() += 1;
    let selector = params.get("labelSelector").cloned().unwrap_or_default();
    state.selectors.insert(plural.clone(), selector);
    let accept = headers
        .get("accept")
        .map(|value| value.to_str().unwrap().to_owned());
    state
        .accepts
        .insert(plural.clone(), accept.unwrap_or_default());
    list(&state, &plural, &params)
}

fn list(state: &ServerState, plural: &str, params: &Params) -> Response {
    let limit: usize = params
        .get("limit")
        .map_or(usize::MAX, |limit| limit.parse().unwrap());
    let skipped: usize = params
        .get("continue")
        .map_or(0, |from| from.parse().unwrap());
    let all = state.objects.iter().filter(|((kind, _), _)| kind == plural);
    let items: Vec<&Value> = all
        .clone()
        .skip(skipped)
        .take(limit)
        .map(|(_, object)| object)
        .collect();
    let mut metadata = json!({"resourceVersion": state.version.to_string()});
    if skipped + items.len() < all.count() {
        metadata["continue"] = json!((skipped + items.len()).to_string());
    }
    Json(json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
        .into_response()
}

fn watch(shared: Arc<Shared>, plural: String, after: u64) -> Response {
    let life = shared.state.lock().unwrap().life;
    let changed = shared.changed.subscribe();
    let lines = stream::unfold(
        (shared, plural, after, changed),
        move |(shared, plural, mut after, mut changed): Watch| async move {
            loop {
                let lines = {
                    let mut state = shared.state.lock().unwrap();
                    if state.life > life {
                        return None;
                    }
                    let told = state.told.get(&plural).copied();
                    let lines = lines_after(&mut state, &plural, &mut after);
                    if told != state.told.get(&plural).copied() {
                        shared.changed.send_replace(());
                    }
                    lines
                };
                if !lines.is_empty() {
                    let bytes = Ok::<_, std::convert::Infallible>(Bytes::from(lines));
                    return Some((bytes, (shared, plural, after, changed)));
                }
                changed.changed().await.unwrap();
            }
        },
    );
    Body::from_stream(lines).into_response()
}

fn lines_after(state: &mut ServerState, plural: &str, after: &mut u64) -> String {
    if state.is_paused {
        return String::new();
    }
    if *after < state.floor
        && state
            .told
            .get(plural)
            .is_none_or(|told| *told < state.floor)
    {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
            "reason": "Expired", "message": "too old resource version"});
        *after = u64::MAX;
        return format!("{}\n", json!({"type": "ERROR", "object": status}));
    }
    let mut lines = String::new();
    for (version, kind, event) in &state.history {
        if kind == plural && version > after {
            *after = *version;
            lines.push_str(&format!("{event}\n"));
        }
    }
    state.told.insert(plural.to_owned(), *after);
    lines
}
