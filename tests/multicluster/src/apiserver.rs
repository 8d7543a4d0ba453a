//! A cluster's own API server: starts it beside the gateway, and asks it from inside its network.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::GroupVersionKind,
    discovery::{Scope, pinned_kind},
};
use serde_json::{Value, json};

use crate::{
    cgroup, netns,
    plan::Plan,
    process::Launch,
    wait::{wait_for, wait_until},
};

/// The program that serves; it starts a real API server where [`ASSETS_VARIABLE`] names one.
pub(crate) const PROGRAM: &str = "apiserver-double";

/// Names the folder with `etcd` and `kube-apiserver`, if there are any.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// Its control group below the node's.
pub(crate) const GROUP: &str = "@apiserver";

/// Where it listens, in the network of the gateway's node.
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 6443);

/// Whose fields the lab's are in server-side apply.
const MANAGER: &str = "isthmus-lab";

/// Ours serves at once; a real one on a busy machine takes long.
const STARTED_WITHIN: Duration = Duration::from_secs(90);

/// A real server serves a new kind a moment after its definition.
const SERVED_WITHIN: Duration = Duration::from_secs(20);

const HTTP_NOT_FOUND: u16 = 404;

/// Starts a cluster's API server, with the objects of its last life, and waits until it serves.
pub(crate) fn start(plan: &Plan, cluster: &str, program: &Path) -> Result<()> {
    let node = plan.gateway_node(cluster)?;
    let kubeconfig = plan.kubeconfig(cluster);
    let folder = kubeconfig.parent().unwrap_or(&kubeconfig);
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (address, port) = ADDRESS;
    let mut argv = vec![text(program), "--listen".to_owned()];
    argv.push(format!("{address}:{port}"));
    argv.extend(["--kubeconfig".to_owned(), text(&kubeconfig)]);
    argv.extend(["--data".to_owned(), text(folder)]);
    for range in &plan.cluster(cluster)?.service_cidrs {
        argv.extend(["--service-cidr".to_owned(), range.to_string()]);
    }
    let mut launch = Launch::on_node(plan, node, GROUP).argv(argv);
    if let Ok(assets) = std::env::var(ASSETS_VARIABLE) {
        launch = launch.variable(ASSETS_VARIABLE, assets);
    }
    let log = plan.log_file(cluster, "apiserver");
    launch.spawn_logged(&log)?;
    let group = node.cgroup.join(GROUP);
    let what = format!("the API server of {cluster} serves");
    let serves = wait_for(STARTED_WITHIN, &what, || {
        // The kubeconfig alone may be of its last life.
        if kubeconfig.exists() && is_ready(plan, cluster)? {
            return Ok(Some(true));
        }
        Ok((!cgroup::is_populated(&group)).then_some(false))
    })?;
    if !serves {
        let said = fs::read_to_string(&log).unwrap_or_default();
        bail!("the API server of {cluster} ended at once; it said:\n{said}");
    }
    Ok(())
}

/// Whether a cluster's API server takes connections.
pub(crate) fn is_ready(plan: &Plan, cluster: &str) -> Result<bool> {
    let node = plan.gateway_node(cluster)?;
    netns::inside(&node.netns, || Ok(TcpStream::connect(ADDRESS).is_ok()))
}

/// Applies objects in their order, their status too, then deletes some.
pub(crate) fn apply(plan: &Plan, cluster: &str, present: &[Value], gone: &[Value]) -> Result<()> {
    ask(plan, cluster, async |client| {
        for object in present {
            apply_one(&client, object)
                .await
                .with_context(|| format!("applying {}", title(object)))?;
        }
        for object in gone {
            delete_one(&client, object)
                .await
                .with_context(|| format!("deleting {}", title(object)))?;
        }
        Ok(())
    })
}

/// Waits until the server serves the kinds that definitions have made.
pub(crate) fn until_served(plan: &Plan, cluster: &str, definitions: &[Value]) -> Result<()> {
    for definition in definitions {
        let spec = &definition["spec"];
        let kinds = spec["versions"].as_array().into_iter().flatten();
        for version in kinds.filter(|version| version["served"] == true) {
            let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (group, version) = (part(&spec["group"]), part(&version["name"]));
            let kind = GroupVersionKind::gvk(&group, &version, &part(&spec["names"]["kind"]));
            let what = format!("{}/{} {} is served", kind.group, kind.version, kind.kind);
            wait_until(SERVED_WITHIN, &what, || {
                ask(plan, cluster, async |client| {
                    Ok(pinned_kind(&client, &kind).await.map(|_served| true)?)
                })
            })?;
        }
    }
    Ok(())
}

/// One object as the server has it, named by its kind, namespace and name; `None` when there is none.
pub(crate) fn get(plan: &Plan, cluster: &str, named: &Value) -> Result<Option<Value>> {
    ask(plan, cluster, async |client| {
        let (api, name) = place(&client, named).await?;
        let found = api.get_opt(&name).await?;
        found
            .map(|object| serde_json::to_value(object).context("reading an object"))
            .transpose()
    })
}

/// The objects of one kind in one namespace, named by those of a sample.
pub(crate) fn list(plan: &Plan, cluster: &str, sample: &Value) -> Result<Vec<Value>> {
    ask(plan, cluster, async |client| {
        let (api, _name) = place(&client, sample).await?;
        let list = api.list(&ListParams::default()).await?;
        let all = list.items.into_iter().map(serde_json::to_value);
        all.collect::<Result<_, _>>().context("reading objects")
    })
}

/// A client for a server, from a thread that is in its network.
pub(crate) async fn connect(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig);
    let read = read.with_context(|| format!("reading {}", kubeconfig.display()))?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(read, &options).await?;
    Client::try_from(config).context("making a client of the API server")
}

fn ask<T: Send>(
    plan: &Plan,
    cluster: &str,
    work: impl AsyncFnOnce(Client) -> Result<T> + Send,
) -> Result<T> {
    let node = plan.gateway_node(cluster)?;
    let kubeconfig = plan.kubeconfig(cluster);
    netns::inside(&node.netns, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime")?;
        runtime.block_on(async { work(connect(&kubeconfig).await?).await })
    })
    .with_context(|| format!("asking the API server of {cluster}"))
}

async fn apply_one(client: &Client, object: &Value) -> Result<()> {
    let (api, name) = place(client, object).await?;
    let parameters = PatchParams::apply(MANAGER).force();
    let mut rest = object.clone();
    let status = rest.as_object_mut().and_then(|map| map.remove("status"));
    api.patch(&name, &parameters, &Patch::Apply(&rest)).await?;
    if let Some(status) = status {
        let status = json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "metadata": object["metadata"],
            "status": status,
        });
        api.patch_status(&name, &parameters, &Patch::Apply(&status))
            .await?;
    }
    Ok(())
}

async fn delete_one(client: &Client, object: &Value) -> Result<()> {
    let (api, name) = place(client, object).await?;
    match api.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == HTTP_NOT_FOUND => Ok(()),
        result => result.map(|_gone| ()).map_err(Into::into),
    }
}

/// Where an object of any kind is.
async fn place(client: &Client, object: &Value) -> Result<(Api<DynamicObject>, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let kind = GroupVersionKind::gvk(group, version, &kind);
    let (resource, capabilities) = pinned_kind(client, &kind).await?;
    let namespace = object["metadata"]["namespace"]
        .as_str()
        .unwrap_or("default");
    let api = match capabilities.scope {
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
        Scope::Cluster => Api::all_with(client.clone(), &resource),
    };
    Ok((api, text(&object["metadata"]["name"])))
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!(
        "{} {}/{}",
        text(&object["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"])
    )
}
