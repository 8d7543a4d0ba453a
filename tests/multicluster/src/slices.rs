//! Derives the objects that Kubernetes' controllers would write: EndpointSlices from services and pods, and the nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    apiserver,
    mode::Mode,
    objects,
    plan::{Plan, PodPlan},
};

/// The definitions of the kinds that a cluster with Isthmus has.
const DEFINITIONS: [&str; 3] = [
    include_str!("../../../helm/isthmus/crds/clusterlinks.yaml"),
    include_str!("../../../helm/isthmus/crds/serviceexports.yaml"),
    include_str!("../../../helm/isthmus/crds/serviceimports.yaml"),
];

/// The derived files' names begin so; a person's own manifests don't.
const DERIVED_PREFIX: &str = "lab-derived-";

/// What is read of a manifest's document; the rest is the gateway's business.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    kind: String,
    metadata: Metadata,
    spec: Spec,
    items: Vec<Self>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: Value,
    ip_families: Vec<String>,
    ports: Vec<ServicePort>,
    publish_not_ready_addresses: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServicePort {
    name: Option<String>,
    protocol: Option<String>,
    port: u16,
    target_port: Value,
}

/// A service that selects pods.
#[derive(Debug)]
pub(crate) struct Selecting {
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
    families: Vec<String>,
    ports: Vec<ServicePort>,
    /// Whether its pods count as ready before they are.
    is_early: bool,
}

/// Brings a cluster's manifests to where its gateway reads them, and adds its nodes.
pub(crate) fn install_manifests(plan: &Plan, cluster: &str) -> Result<()> {
    let target = plan.manifests_dir(cluster);
    fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
    match plan.mode {
        Mode::Manifests => {}
        Mode::Kubernetes => install_kinds(plan, cluster)?,
    }
    if let Some(folder) = &plan.cluster(cluster)?.manifests {
        let folder = plan.folder.join(folder);
        for file in manifest_files(&folder)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let text =
                fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            objects::write(plan, cluster, &name, &text)?;
        }
    }
    let nodes = plan.nodes_of(cluster).map(|node| {
        let addresses = [IpAddr::from(node.ipv4), IpAddr::from(node.ipv6)];
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node.name},
            "spec": {"podCIDR": node.pod_cidrs.first(), "podCIDRs": node.pod_cidrs},
            "status": {
                "addresses": addresses.map(|a| json!({"type": "InternalIP", "address": a})),
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    });
    write_derived(plan, cluster, "nodes", nodes.collect())
}

/// Gives an API server what a cluster has before its first manifest: our kinds and the pods' namespaces.
fn install_kinds(plan: &Plan, cluster: &str) -> Result<()> {
    let definitions = DEFINITIONS.join("\n---\n");
    objects::write(
        plan,
        cluster,
        &format!("{DERIVED_PREFIX}kinds.yaml"),
        &definitions,
    )?;
    apiserver::until_served(plan, cluster, &objects::parse(&definitions)?)?;
    let namespaces = plan.pods_of(cluster).map(|pod| pod.pod.namespace.as_str());
    let namespaces: BTreeSet<_> = namespaces.collect();
    let namespaces = namespaces
        .into_iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    write_derived(plan, cluster, "namespaces", namespaces.collect())
}

/// Writes how a cluster's pods are, as the kubelets of an API server's cluster would.
pub(crate) fn write_pods(
    plan: &Plan,
    cluster: &str,
    is_ready: &impl Fn(&PodPlan) -> bool,
) -> Result<()> {
    let pods = plan.pods_of(cluster).map(|pod| {
        let addresses = pod.addresses.iter().map(|ip| json!({"ip": ip}));
        let ready = if is_ready(pod) { "True" } else { "False" };
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod.pod.name,
                "namespace": pod.pod.namespace,
                "labels": pod.pod.labels,
            },
            "spec": {
                "nodeName": pod.node,
                "containers": [{"name": "main", "image": "isthmus-lab"}],
            },
            "status": {
                "phase": "Running",
                "podIP": pod.addresses.first(),
                "podIPs": addresses.collect::<Vec<_>>(),
                "conditions": [{"type": "Ready", "status": ready}],
            },
        })
    });
    write_derived(plan, cluster, "pods", pods.collect())
}

/// Derives the EndpointSlices of one cluster and writes them.
pub(crate) fn write_slices(
    plan: &Plan,
    cluster: &str,
    services: Vec<Selecting>,
    is_ready: &impl Fn(&PodPlan) -> bool,
) -> Result<()> {
    let mut slices = Vec::new();
    for service in services {
        let pods = plan.pods_of(cluster).filter(|p| service.selects(p));
        slices.extend(service.slices(&pods.collect::<Vec<_>>(), is_ready));
    }
    write_derived(plan, cluster, "endpointslices", slices)
}

/// A folder's manifests in the order of their names.
pub(crate) fn manifest_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("reading the manifests in {}", folder.display()))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let extension = path.extension().and_then(|e| e.to_str());
            matches!(extension, Some("yaml" | "yml" | "json"))
        })
        .collect();
    files.sort_unstable();
    Ok(files)
}

/// Whether a file is the lab's own rather than a person's.
pub(crate) fn is_derived(file: &Path) -> bool {
    let name = file.file_name().and_then(|n| n.to_str());
    name.is_some_and(|name| name.starts_with(DERIVED_PREFIX))
}

/// Writes a file so that its reader sees the old or the new one, never half of it.
pub(crate) fn write_atomically(file: &Path, text: &str) -> Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, file))
        .with_context(|| format!("writing {}", file.display()))
}

fn write_derived(plan: &Plan, cluster: &str, what: &str, objects: Vec<Value>) -> Result<()> {
    let name = format!("{DERIVED_PREFIX}{what}.yaml");
    let file = plan.manifests_dir(cluster).join(&name);
    let documents: Vec<_> = objects
        .iter()
        .map(serde_yaml::to_string)
        .collect::<Result<_, _>>()?;
    let text = documents.join("---\n");
    // A change of the file wakes the gateway, so there is one only if something changed.
    if fs::read_to_string(&file).ok().as_deref() == Some(&text) {
        return Ok(());
    }
    objects::write(plan, cluster, &name, &text)
}

/// The services of an API server that select pods.
pub(crate) fn selecting(services: &[Value]) -> Vec<Selecting> {
    let objects = services.iter().map(Object::deserialize);
    objects
        .filter_map(Result::ok)
        .filter_map(Selecting::of)
        .collect()
}

/// The services of a folder that select pods.
pub(crate) fn services(folder: &Path) -> Result<Vec<Selecting>> {
    let mut found = Vec::new();
    for file in manifest_files(folder)? {
        if is_derived(&file) {
            continue;
        }
        // A file that goes away meanwhile has no services.
        let text = fs::read_to_string(&file).unwrap_or_default();
        found.extend(documents(&text).filter_map(Selecting::of));
    }
    Ok(found)
}

/// The documents that can be understood; it is the gateway that reports the others.
fn documents(text: &str) -> impl Iterator<Item = Object> {
    let mut texts = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            texts.push(String::new());
        } else if let Some(document) = texts.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    texts
        .into_iter()
        .filter_map(|text| serde_yaml::from_str::<Object>(&text).ok())
        .flat_map(|object| {
            if object.kind.ends_with("List") {
                object.items
            } else {
                vec![object]
            }
        })
}

impl Selecting {
    fn of(object: Object) -> Option<Self> {
        let labels = object.spec.selector.as_object()?;
        if object.kind != "Service" || labels.is_empty() {
            return None;
        }
        let labels = labels
            .iter()
            .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect::<Option<_>>()?;
        Some(Self {
            namespace: object
                .metadata
                .namespace
                .unwrap_or_else(|| "default".to_owned()),
            name: object.metadata.name,
            labels,
            families: object.spec.ip_families,
            ports: object.spec.ports,
            is_early: object.spec.publish_not_ready_addresses,
        })
    }

    fn selects(&self, pod: &PodPlan) -> bool {
        pod.pod.namespace == self.namespace
            && self
                .labels
                .iter()
                .all(|(key, value)| pod.pod.labels.get(key) == Some(value))
    }

    /// One slice per family and set of port numbers, as Kubernetes does it.
    fn slices(&self, pods: &[&PodPlan], is_ready: &impl Fn(&PodPlan) -> bool) -> Vec<Value> {
        let mut groups: BTreeMap<(&str, Vec<u16>), Vec<Value>> = BTreeMap::new();
        for pod in pods {
            let ports = self.ports.iter().map(|port| target_port(port, pod));
            // A pod without the named port serves nothing of this service.
            let Some(ports) = ports.collect::<Option<Vec<_>>>() else {
                continue;
            };
            for address in &pod.addresses {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                if self.families.is_empty() || self.families.iter().any(|f| f == family) {
                    let endpoint = endpoint(pod, address, self.is_early || is_ready(pod));
                    let group = groups.entry((family, ports.clone())).or_default();
                    group.push(endpoint);
                }
            }
        }
        let groups = groups.into_iter().enumerate();
        groups
            .map(|(number, ((family, ports), endpoints))| {
                self.slice(number, family, &ports, &endpoints)
            })
            .collect()
    }

    fn slice(&self, number: usize, family: &str, ports: &[u16], endpoints: &[Value]) -> Value {
        let ports = self.ports.iter().zip(ports).map(|(port, number)| {
            json!({
                "name": port.name.as_deref().unwrap_or(""),
                "protocol": port.protocol.as_deref().unwrap_or("TCP"),
                "port": number,
            })
        });
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{number}", self.name),
                "namespace": self.namespace,
                "labels": {"kubernetes.io/service-name": self.name},
            },
            "addressType": family,
            "ports": ports.collect::<Vec<_>>(),
            "endpoints": endpoints,
        })
    }
}

fn endpoint(pod: &PodPlan, address: &IpAddr, ready: bool) -> Value {
    json!({
        "addresses": [address],
        "conditions": {"ready": ready, "serving": ready, "terminating": false},
        "nodeName": pod.node,
        "targetRef": {"kind": "Pod", "name": pod.pod.name, "namespace": pod.pod.namespace},
    })
}

fn target_port(port: &ServicePort, pod: &PodPlan) -> Option<u16> {
    match port.target_port.as_str() {
        Some(name) => pod
            .pod
            .ports
            .iter()
            .find(|p| p.name == name)
            .map(|p| p.port),
        None => match port.target_port.as_u64() {
            Some(number) => u16::try_from(number).ok(),
            None => Some(port.port),
        },
    }
}

#[cfg(test)]
mod tests;
