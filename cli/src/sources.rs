//! Fetches the status documents of gateways and agents.
//!
//! They are read as documents, not as the daemons' own types, so that a daemon of another version is shown as far as it
//! goes.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, anyhow, ensure};
use multicluster::{Lab, Target, http};
use serde_json::Value;

use crate::{
    args::From,
    exit::{Failure, UNREACHABLE},
};

/// Where the daemons listen unless told otherwise.
const DEFAULT_ENDPOINTS: [&str; 2] = ["http://127.0.0.1:9470", "http://127.0.0.1:9471"];

/// What was asked and what it said.
#[derive(Debug)]
pub(crate) struct Source {
    /// The endpoint's address, or the program in a lab.
    pub(crate) name: String,
    /// Its status, or why there is none.
    pub(crate) status: Result<Value>,
}

impl Source {
    /// Whether it is a gateway's status, the only one with links.
    pub(crate) fn gateway(&self) -> Option<&Value> {
        self.status.as_ref().ok().filter(|s| s["peers"].is_array())
    }

    /// Whether it is an agent's status.
    pub(crate) fn agent(&self) -> Option<&Value> {
        self.status.as_ref().ok().filter(|s| s["node"].is_string())
    }
}

/// Asks all daemons that the arguments name; an error only if none answers.
pub(crate) fn fetch(from: &From) -> Result<Vec<Source>, Failure> {
    let sources = match &from.lab {
        Some(name) => from_lab(&Lab::open(name)?)?,
        None if from.admin.is_empty() => from_urls(DEFAULT_ENDPOINTS),
        None => from_urls(from.admin.iter().map(String::as_str)),
    };
    if sources.iter().any(|source| source.status.is_ok()) {
        return Ok(sources);
    }
    let reasons = sources.into_iter().map(|source| match source.status {
        Ok(_) => source.name,
        Err(error) => format!("{}: {error:#}", source.name),
    });
    let reasons = reasons.collect::<Vec<_>>().join("\n  ");
    let error = anyhow!(
        "no gateway and no agent answers: name their admin endpoints with --admin, or a lab with --lab\n  {reasons}"
    );
    Err(Failure::new(UNREACHABLE, error))
}

fn from_lab(lab: &Lab) -> Result<Vec<Source>> {
    let targets = lab.targets().into_iter();
    let daemons: Vec<_> = targets
        .filter(|target| matches!(target, Target::Gateway { .. } | Target::Agent { .. }))
        .collect();
    ensure!(
        !daemons.is_empty(),
        "lab {} was built without daemons",
        lab.name()
    );
    Ok(daemons
        .into_iter()
        .map(|target| Source {
            name: target.to_string(),
            status: lab.admin(&target, "/v1/status").and_then(parse),
        })
        .collect())
}

fn from_urls<'a>(urls: impl IntoIterator<Item = &'a str>) -> Vec<Source> {
    urls.into_iter()
        .map(|url| Source {
            name: url.to_owned(),
            status: from_url(url),
        })
        .collect()
}

fn from_url(url: &str) -> Result<Value> {
    let rest = url.strip_prefix("http://").with_context(|| {
        format!("'{url}' is no admin endpoint: write http://<address>:<port>, as it has no TLS")
    })?;
    let authority = rest.trim_end_matches('/');
    let mut addresses = authority
        .to_socket_addrs()
        .with_context(|| format!("finding the address of {authority}"))?;
    let address: SocketAddr = addresses
        .next()
        .with_context(|| format!("{authority} has no address"))?;
    parse(http::get(address, "/v1/status")?)
}

fn parse(answer: http::Answer) -> Result<Value> {
    ensure!(answer.status == 200, "it answers {}", answer.status);
    serde_json::from_str(&answer.body).context("its status is no JSON")
}

/// A value for a table's cell: text without quotes, `-` for what is missing.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The elements of an array; none for anything else.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
