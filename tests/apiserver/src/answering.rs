//! Answers one HTTP request.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT},
};
use serde_json::{Value, json};

use crate::{
    api::{DeleteOptions, ListOptions, Patch, Target, WriteOptions},
    discovery,
    form::{Form, success},
    refusal::Refusal,
    selector::Selector,
    state::{Inner, Shared},
    watching::{self, WatchOptions},
};

/// The longest body; the API server's own limit is 3 MiB.
const MAX_BODY_BYTES: usize = 3 << 20;

/// How long a watch lasts that does not say; the API server takes between half an hour and an hour.
const DEFAULT_WATCH: Duration = Duration::from_secs(1_800);

/// Whom the server thinks it talks to.
const USER: &str = "system:serviceaccount:isthmus-system:test";

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

type Params = BTreeMap<String, String>;

/// What a request says, without its body.
struct Asked {
    method: Method,
    path: String,
    params: Params,
    accept: String,
    content_type: String,
    user_agent: String,
}

impl Asked {
    fn new(request: &Request<Incoming>) -> Self {
        let header = |headers: &HeaderMap, name| {
            let value = headers.get(name).map(HeaderValue::to_str);
            value.and_then(Result::ok).unwrap_or_default().to_owned()
        };
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            params: params(request.uri().query().unwrap_or_default()),
            accept: header(request.headers(), ACCEPT),
            content_type: header(request.headers(), CONTENT_TYPE),
            user_agent: header(request.headers(), USER_AGENT),
        }
    }

    fn param(&self, name: &str) -> &str {
        self.params
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.param(name), "true" | "1")
    }

    /// What the request does, as access rules call it.
    fn verb(&self, target: &Target) -> &'static str {
        match (&self.method, &target.name) {
            (&Method::GET, _) if self.flag("watch") => "watch",
            (&Method::GET, Some(_)) => "get",
            (&Method::GET, None) => "list",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, Some(_)) => "delete",
            (&Method::DELETE, None) => "deletecollection",
            _ => "unknown",
        }
    }

    fn write_options(&self, inner: &Inner) -> WriteOptions {
        let manager = match self.param("fieldManager") {
            "" => self.user_agent.split('/').next().unwrap_or_default(),
            given => given,
        };
        WriteOptions {
            manager: if manager.is_empty() {
                "unknown"
            } else {
                manager
            }
            .to_owned(),
            is_dry_run: !self.param("dryRun").is_empty(),
            is_forced: self.flag("force"),
            is_strict: self.param("fieldValidation") == "Strict",
            now: inner.now(),
        }
    }

    fn list_options(&self) -> Result<ListOptions, Refusal> {
        let token = self.param("continue");
        let version = self.param("resourceVersion");
        Ok(ListOptions {
            selector: Selector::parse(self.param("labelSelector"), self.param("fieldSelector"))?,
            limit: self.param("limit").parse().unwrap_or_default(),
            continue_token: (!token.is_empty()).then(|| token.to_owned()),
            resource_version: revision(version)?,
            is_exact: self.param("resourceVersionMatch") == "Exact",
        })
    }
}

/// Answers a request; what is wrong with it is part of the answer.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let asked = Asked::new(&request);
    let answered = respond(&shared, &asked, request.into_body()).await;
    Ok(answered.unwrap_or_else(|refusal| json_response(refusal.code, &refusal.status())))
}

async fn respond(
    shared: &Arc<Shared>,
    asked: &Asked,
    body: Incoming,
) -> Result<Response<Body>, Refusal> {
    if matches!(asked.path.as_str(), "/healthz" | "/livez" | "/readyz") {
        return Ok(text_response("ok"));
    }
    let Some(target) = shared.with(|inner| target(inner, &asked.path)) else {
        let found = shared.with(|inner| discovery::answer(&inner.api, &asked.path));
        let found = found.filter(|_| asked.method == Method::GET);
        return found
            .map(|value| json_response(200, &value))
            .ok_or_else(Refusal::no_such_path);
    };
    let verb = asked.verb(&target);
    shared.wake(|inner| {
        let resource = &target.kind.resource;
        inner
            .tally
            .note(verb, resource, asked.param("labelSelector"), &asked.accept);
        if inner.faults.forbids(resource, verb) {
            return Err(Refusal::forbidden(&target.kind, verb, USER));
        }
        Ok(())
    })?;
    match (verb, &target.name) {
        ("watch", _) => watch(shared, asked, target),
        ("get", Some(name)) => shared.with(|inner| {
            let object = inner.api.get(&target, name)?;
            let form = Form::of_accept(&asked.accept);
            let shown = form.object(object, &target.kind, &target.version, inner.now());
            Ok(json_response(200, &shown))
        }),
        ("list", None) => {
            let delay = shared.with(|inner| inner.faults.list_delay);
            tokio::time::sleep(delay).await;
            shared.with(|inner| {
                let list = inner.api.list(&target, &asked.list_options()?)?;
                let form = Form::of_accept(&asked.accept);
                let shown = form.list(list, &target.kind, &target.version, inner.now());
                Ok(json_response(200, &shown))
            })
        }
        _ => {
            // `kubectl create` of built-in kinds speaks protobuf; `kubectl apply` does not.
            if asked.content_type.contains("protobuf") {
                return Err(Refusal::unsupported_media_type(&asked.content_type));
            }
            let body = read(body).await?;
            shared.with(|inner| write(inner, asked, &target, verb, &body))
        }
    }
}

fn write(
    inner: &mut Inner,
    asked: &Asked,
    target: &Target,
    verb: &str,
    body: &[u8],
) -> Result<Response<Body>, Refusal> {
    let options = asked.write_options(inner);
    let in_form = |object: &Value, inner: &Inner| {
        let object = crate::api::in_version(object, target);
        Form::of_accept(&asked.accept).object(object, &target.kind, &target.version, inner.now())
    };
    match (verb, &target.name) {
        ("create", None) => {
            let object = inner.api.create(target, parsed(body)?, &options)?;
            Ok(json_response(201, &in_form(&object, inner)))
        }
        ("update", Some(name)) => {
            let object = inner.api.update(target, name, parsed(body)?, &options)?;
            Ok(json_response(200, &in_form(&object, inner)))
        }
        ("patch", Some(name)) => {
            let patch = patch(&asked.content_type, body)?;
            let written = inner.api.patch(target, name, patch, &options)?;
            let code = if written.is_new { 201 } else { 200 };
            Ok(json_response(code, &in_form(&written.object, inner)))
        }
        ("delete", Some(name)) => {
            let object = inner
                .api
                .delete(target, name, &delete_options(asked, body)?, &options)?;
            let is_waiting = crate::meta::is_deleting(&object);
            let shown = if is_waiting {
                in_form(&object, inner)
            } else {
                success(name, &target.kind, &object)
            };
            Ok(json_response(200, &shown))
        }
        ("deletecollection", None) => {
            let list = inner
                .api
                .delete_collection(target, &asked.list_options()?, &options)?;
            Ok(json_response(200, &list))
        }
        _ => Err(Refusal::method_not_allowed()),
    }
}

fn watch(shared: &Arc<Shared>, asked: &Asked, target: Target) -> Result<Response<Body>, Refusal> {
    let sends_initial_events = asked.flag("sendInitialEvents");
    let lacks = shared.with(|inner| inner.faults.lacks_streaming_lists);
    if sends_initial_events && lacks {
        let message = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        let mut refusal = Refusal::bad_request(message);
        refusal.code = 422;
        refusal.reason = "Invalid";
        return Err(refusal);
    }
    let timeout = asked
        .param("timeoutSeconds")
        .parse()
        .map(Duration::from_secs);
    let after = revision(asked.param("resourceVersion"))?;
    let options = WatchOptions {
        selector: Selector::parse(asked.param("labelSelector"), asked.param("fieldSelector"))?,
        form: Form::of_accept(&asked.accept),
        after: after.filter(|_| !sends_initial_events),
        sends_initial_events,
        wants_bookmarks: asked.flag("allowWatchBookmarks"),
        timeout: timeout.unwrap_or(DEFAULT_WATCH),
    };
    let lines = watching::start(shared, target, options)?;
    let frames = lines.map(|line| Ok(Frame::data(line)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// What a path names, if it names a kind.
fn target(inner: &Inner, path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, plural, name, subresource) = match rest {
        // The namespaces themselves also have paths that begin so.
        ["namespaces", namespace, plural, more @ ..] if *plural != "status" => {
            (Some(*namespace), *plural, more.first(), more.get(1))
        }
        [plural, more @ ..] => (None, *plural, more.first(), more.get(1)),
        [] => return None,
    };
    let kind = inner.api.kind(group, version, plural)?;
    let subresource = subresource.copied().unwrap_or_default();
    let is_known = subresource.is_empty() || (subresource == "status" && kind.has_status);
    is_known.then(|| Target {
        kind,
        version: version.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.map(|&name| name.to_owned()),
        subresource: subresource.to_owned(),
    })
}

fn patch(content_type: &str, body: &[u8]) -> Result<Patch, Refusal> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    match media_type {
        "application/merge-patch+json" => parsed(body).map(Patch::Merge),
        "application/strategic-merge-patch+json" => parsed(body).map(Patch::Strategic),
        "application/json-patch+json" => parsed(body).map(Patch::Json),
        "application/apply-patch+yaml" => serde_yaml::from_slice(body)
            .map(Patch::Apply)
            .map_err(|error| Refusal::bad_request(error.to_string())),
        other => Err(Refusal::unsupported_media_type(other)),
    }
}

fn delete_options(asked: &Asked, body: &[u8]) -> Result<DeleteOptions, Refusal> {
    let body = if body.is_empty() {
        json!({})
    } else {
        parsed(body)?
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let policy = body["propagationPolicy"]
        .as_str()
        .unwrap_or_else(|| asked.param("propagationPolicy"));
    Ok(DeleteOptions {
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        is_orphaning: policy == "Orphan",
    })
}

fn revision(text: &str) -> Result<Option<u64>, Refusal> {
    match text {
        "" | "0" => Ok(None),
        text => text.parse().map(Some).map_err(|_not_a_number| {
            Refusal::bad_request(format!("resourceVersion: Invalid value: {text:?}"))
        }),
    }
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let read = Limited::new(body, MAX_BODY_BYTES).collect().await;
    read.map(http_body_util::Collected::to_bytes)
        .map_err(|error| Refusal::bad_request(format!("the body cannot be read: {error}")))
}

/// Reads a body, which clients may write in JSON or in YAML.
fn parsed(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body)
        .or_else(|_not_json| serde_yaml::from_slice(body))
        .map_err(|error| Refusal::bad_request(format!("the body is no object: {error}")))
}

fn params(query: &str) -> Params {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// Undoes the encoding of forms; a broken escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let escaped = after
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None if first == b'+' => bytes.push(b' '),
            None => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn json_response(code: u16, value: &Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn text_response(text: &'static str) -> Response<Body> {
    Response::new(full(text.to_owned()))
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed_unsync()
}
