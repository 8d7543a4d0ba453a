//! Clusters with an API server, a source, a merge and a sink each; what one exports, the others hear at once.

use std::{sync::Arc, time::Duration};

use apiserver_double::{AnyServer, ApiServer};
use cluster_registry::{
    link::LinkStatus, mcs::addresses::Allocator, name::ClusterName, view::View,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, api::PostParams};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    exchange::{exchange, pass_on},
    objects::namespace,
    waiting::DEADLINE,
};
use crate::{
    kubernetes::KubernetesSource,
    sink::{LinkStatuses, Settings, Sink},
    source::Problem,
    testing::{self, client, definition},
};

/// One cluster.
pub(super) struct Cluster {
    pub(super) server: AnyServer,
    pub(super) client: Client,
    pub(super) views: watch::Receiver<Option<Arc<View>>>,
    pub(super) links: watch::Sender<Option<LinkStatuses>>,
    /// What the sinks could not write.
    pub(super) problems: watch::Sender<Vec<Problem>>,
    name: ClusterName,
}

/// The clusters.
pub(super) struct World {
    pub(super) clusters: Vec<Cluster>,
    shutdown: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl World {
    /// Two clusters, `c1` and `c2`, with the namespace in both and one sink each.
    pub(super) async fn start() -> Self {
        Self::without_sinks(2).await.with_sinks().await
    }

    /// The same for what only the double can show: faults, and what it was asked.
    pub(super) async fn on_doubles() -> Self {
        Self::on_doubles_with(2, |_| {}).await.with_sinks().await
    }

    /// Clusters in which nothing is yet.
    pub(super) async fn without_sinks(count: usize) -> Self {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(AnyServer::start().await.unwrap());
        }
        Self::of(servers, |_| {}).await
    }

    /// Clusters on doubles in which nothing is yet, with other definitions of the kinds.
    pub(super) async fn on_doubles_with(count: usize, change: impl Fn(&mut Value)) -> Self {
        let double = |_| AnyServer::Double(ApiServer::start(Default::default()).unwrap());
        Self::of((0..count).map(double).collect(), change).await
    }

    async fn of(servers: Vec<AnyServer>, change: impl Fn(&mut Value)) -> Self {
        let shutdown = CancellationToken::new();
        let (events_tx, events) = mpsc::channel(16);
        let mut clusters = Vec::new();
        let mut views = Vec::new();
        for (number, server) in servers.into_iter().enumerate() {
            let client = client(server.kubeconfig()).await;
            let name = ClusterName::parse(&format!("c{}", number + 1)).unwrap();
            let (views_tx, views_rx) = watch::channel(None);
            views.push((name.clone(), views_tx));
            let cluster = Cluster {
                server,
                client: client.clone(),
                views: views_rx,
                links: watch::channel(Some(LinkStatuses::default())).0,
                problems: watch::channel(Vec::new()).0,
                name,
            };
            for file in ["serviceexports", "serviceimports", "clusterlinks"] {
                let mut definition = definition(file);
                change(&mut definition);
                cluster.set(definition.clone()).await;
                cluster.until_true(&definition, "Established").await;
            }
            let (source_tx, source) = mpsc::channel(8);
            tokio::spawn(KubernetesSource::new(client).run(source_tx, shutdown.clone()));
            tokio::spawn(pass_on(number, source, events_tx.clone()));
            clusters.push(cluster);
        }
        tokio::spawn(exchange(events, views));
        Self { clusters, shutdown }
    }

    async fn with_sinks(self) -> Self {
        for cluster in &self.clusters {
            cluster.set(namespace()).await;
            cluster.start_sink("replica-1", &self.shutdown);
        }
        self
    }

    /// The clusters of a world of two.
    pub(super) fn two(&self) -> [&Cluster; 2] {
        let [c1, c2] = &self.clusters[..] else {
            unreachable!("the world has two clusters")
        };
        [c1, c2]
    }

    pub(super) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Lets what is made next be younger than what is there.
    pub(super) async fn later(&self) {
        for cluster in &self.clusters {
            match &cluster.server {
                AnyServer::Double(double) => double.advance_clock(Duration::from_secs(5)),
                AnyServer::Real(_) => {
                    let passed = cluster.until_clock_moves();
                    tokio::time::timeout(DEADLINE, passed).await.unwrap();
                }
            }
        }
    }
}

impl Cluster {
    /// Its server, in a world on doubles.
    pub(super) fn double(&self) -> &ApiServer {
        match &self.server {
            AnyServer::Double(double) => double,
            AnyServer::Real(_) => panic!("the world was not made on doubles"),
        }
    }

    /// Waits until objects are made a second later; a server's clock gives their times, in whole seconds.
    async fn until_clock_moves(&self) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "default");
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let mut object = ConfigMap::default();
        object.metadata.name = Some("clock".to_owned());
        let time = async || {
            let made = api.create(&params, &object).await.unwrap();
            made.metadata.creation_timestamp.unwrap()
        };
        let began = time().await;
        while time().await == began {}
    }

    /// Starts a sink, which ends with the token.
    pub(super) fn start_sink(&self, identity: &str, shutdown: &CancellationToken) {
        let pools = ["10.97.0.0/16", "fd97::/112"].map(|pool| pool.parse().unwrap());
        let settings = Settings {
            cluster: self.name.clone(),
            identity: identity.to_owned(),
            lease_namespace: "default".to_owned(),
            pools: Allocator::try_new(pools).unwrap(),
            views: self.views.clone(),
            links: self.links.subscribe(),
            problems: self.problems.clone(),
        };
        let sink = Sink::new(self.client.clone(), settings);
        tokio::spawn(sink.run(shutdown.clone()));
    }

    pub(super) async fn set(&self, object: Value) {
        testing::set(&self.client, &object).await;
    }

    pub(super) async fn delete(&self, object: Value) {
        testing::delete(&self.client, &object).await;
    }

    pub(super) fn tell_link(&self, cluster: &str, status: LinkStatus) {
        let name = ClusterName::parse(cluster).unwrap();
        self.links.send_modify(|links| {
            Arc::make_mut(links.get_or_insert_default()).insert(name, status);
        });
    }
}
