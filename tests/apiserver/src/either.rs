//! The server that tests run against: a real one where its programs are, else ours.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context;
use serde_json::Value;

use crate::{
    real::{self, RealServer},
    server::{ApiServer, Settings},
};

/// A server for tests that hold for any.
#[derive(Debug)]
pub enum AnyServer {
    /// Ours, in this process.
    Double(ApiServer),
    /// `kube-apiserver` with `etcd`.
    Real(Box<RealServer>),
}

impl AnyServer {
    /// Starts a real server if `KUBEBUILDER_ASSETS` names a folder with its programs, else ours, and says which.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Settings::default()).await
    }

    /// The same at a given address and with given service ranges.
    pub async fn start_with(settings: Settings) -> anyhow::Result<Self> {
        match real::assets() {
            Some(assets) => {
                say(&format!("kube-apiserver and etcd of {}", assets.display()))?;
                Ok(Self::Real(Box::new(
                    RealServer::start(&assets, &settings).await?,
                )))
            }
            None => {
                say(&format!(
                    "the double ({} is not set)",
                    real::ASSETS_VARIABLE
                ))?;
                Ok(Self::Double(ApiServer::start(settings)?))
            }
        }
    }

    /// A kubeconfig that leads to it.
    pub fn kubeconfig(&self) -> Value {
        match self {
            Self::Double(server) => server.kubeconfig(),
            Self::Real(server) => server.kubeconfig(),
        }
    }
}

/// Says it once, and past the tests' captured output, so that every run shows it.
fn say(text: &str) -> anyhow::Result<()> {
    static SAID: AtomicBool = AtomicBool::new(false);
    if SAID.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    writeln!(std::io::stderr(), "API server: {text}").context("saying which API server is used")
}
