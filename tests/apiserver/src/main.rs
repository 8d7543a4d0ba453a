//! Serves an API server for the lab: ours, with the objects of a folder at its start, or a real one.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use apiserver_double::{AnyServer, Settings};
use clap::Parser;
use serde::Deserialize;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

/// A Kubernetes API server for the lab: no controllers, no access rules, and everything in memory unless --data is given; or a real one where
/// KUBEBUILDER_ASSETS names a folder with kube-apiserver and etcd.
#[derive(Debug, Parser)]
#[command(name = "apiserver-double")]
struct Args {
    /// Where to listen; port 0 for any.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Applies every manifest of these files and folders at the start, custom kinds first; not to a real server.
    #[arg(long)]
    load: Vec<PathBuf>,
    /// Writes a kubeconfig that leads to the server here, once it serves.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Keeps every write in this folder, which is made, so that a server that was killed comes back as it was.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A range of cluster IPs, at most one per family, the preferred first.
    #[arg(long = "service-cidr", value_parser = parse_range)]
    service_cidrs: Vec<(std::net::IpAddr, u8)>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut settings = Settings {
        listen: args.listen,
        data: args.data,
        ..Settings::default()
    };
    if !args.service_cidrs.is_empty() {
        settings.service_cidrs = args.service_cidrs;
    }
    let mut objects = Vec::new();
    for path in &args.load {
        read(path, &mut objects)?;
    }
    // Definitions before their objects, namespaces before what is in them.
    objects.sort_by_key(|object| match object["kind"].as_str() {
        Some("CustomResourceDefinition") => 0,
        Some("Namespace") => 1,
        Some(_) | None => 2,
    });
    let server = AnyServer::start_with(settings).await?;
    load(&server, &objects)?;
    if let Some(path) = &args.kubeconfig {
        // Whoever waits for the file finds all of it.
        let beside = path.with_extension("new");
        std::fs::write(&beside, server.kubeconfig().to_string())
            .and_then(|()| std::fs::rename(&beside, path))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tokio::select! {
        _signal = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listening for SIGINT")?,
    }
    Ok(())
}

fn load(server: &AnyServer, objects: &[Value]) -> anyhow::Result<()> {
    match server {
        AnyServer::Double(server) => objects.iter().try_for_each(|object| {
            let name = &object["metadata"]["name"];
            server
                .apply(object)
                .with_context(|| format!("loading {} {name}", object["kind"]))
        }),
        AnyServer::Real(_) if objects.is_empty() => Ok(()),
        AnyServer::Real(_) => {
            bail!(
                "--load is for the double: apply the objects with `kubectl apply` to a real server"
            )
        }
    }
}

fn read(path: &Path, objects: &mut Vec<Value>) -> anyhow::Result<()> {
    let what = || format!("reading {}", path.display());
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
            .with_context(what)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .with_context(what)?;
        entries.sort();
        return entries.iter().try_for_each(|entry| read(entry, objects));
    }
    let is_manifest = path
        .extension()
        .is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
    if !is_manifest {
        return Ok(());
    }
    let text = std::fs::read_to_string(path).with_context(what)?;
    for document in serde_yaml::Deserializer::from_str(&text) {
        let object = Value::deserialize(document).with_context(what)?;
        if object.is_object() {
            objects.push(object);
        }
    }
    Ok(())
}

fn parse_range(text: &str) -> Result<(std::net::IpAddr, u8), String> {
    let (address, length) = text.split_once('/').ok_or("a range is ADDRESS/LENGTH")?;
    let address = address
        .parse()
        .map_err(|error| format!("{address}: {error}"))?;
    let length = length
        .parse()
        .map_err(|error| format!("{length}: {error}"))?;
    Ok((address, length))
}
