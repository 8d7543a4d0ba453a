//! What the sink watches: the objects that it writes, and those whose state it shows.

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, Resource,
    runtime::watcher::{Config, InitialListStrategy},
};
use serde::de::DeserializeOwned;

use super::{
    existing::News,
    slices::{MANAGED_BY, MANAGED_BY_LABEL},
};
use crate::{
    api::{ClusterLink, McsVersion, ServiceExport, ServiceImport},
    following::{Following, Told},
};

/// How long one watch call lasts, in seconds; also the longest that a silently dead connection goes unnoticed.
const WATCH_SECONDS: u32 = 60;

/// All news, each with the number of the version that its kind is followed in.
pub(super) fn news(
    client: &Client,
    strategy: &InitialListStrategy,
) -> BoxStream<'static, (usize, News)> {
    let config = Config {
        initial_list_strategy: strategy.clone(),
        ..Config::default().timeout(WATCH_SECONDS)
    };
    let ours = config
        .clone()
        .labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let exports = McsVersion::ALL.map(|v| Api::<ServiceExport>::all_with(client.clone(), &v));
    let imports = McsVersion::ALL.map(|v| Api::<ServiceImport>::all_with(client.clone(), &v));
    let links = Api::<ClusterLink>::all(client.clone());
    let slices = Api::all(client.clone());
    let services = Api::all(client.clone());
    stream::select_all([
        told(
            Following::new("serviceexports", exports.into(), config.clone()),
            News::Export,
        ),
        told(
            Following::new("serviceimports", imports.into(), config.clone()),
            News::Import,
        ),
        told(
            Following::new("endpointslices", vec![slices], ours),
            News::Slice,
        ),
        told(
            Following::new("services", vec![services], config.clone()),
            News::Service,
        ),
        told(
            Following::new("clusterlinks", vec![links], config),
            News::Link,
        ),
    ])
    .boxed()
}

fn told<K>(following: Following<K>, news: fn(Told<K>) -> News) -> BoxStream<'static, (usize, News)>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let told = stream::unfold((following, news), |(mut following, news)| async move {
        let told = news(following.next().await);
        Some(((following.version(), told), (following, news)))
    });
    told.boxed()
}
