//! A running source of a directory, followed, and the files that tests write into it.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use cluster_registry::{
    link::LinkSpec,
    name::ClusterName,
    resource::{Resource, ResourceId},
    trace::TraceContext,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{manifest::ManifestSource, source::SourceEvent};

/// Long enough for a busy machine; nothing waits as long when all is well.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

pub(super) const TRACE: TraceContext = TraceContext {
    trace_id: [1; 16],
    span_id: [2; 8],
    sampled: true,
};

/// A running source, followed.
pub(super) struct Running {
    pub(super) events: mpsc::Receiver<SourceEvent>,
    pub(super) shutdown: CancellationToken,
    pub(super) task: JoinHandle<()>,
    pub(super) state: BTreeMap<ResourceId, Resource>,
    pub(super) problems: Vec<String>,
    pub(super) links: BTreeMap<ClusterName, LinkSpec>,
    pub(super) is_synced: bool,
    /// How many resources were ever withdrawn.
    pub(super) withdrawn: usize,
    pub(super) traces: Vec<Option<TraceContext>>,
}

pub(super) fn start(dir: &Path) -> Running {
    let (events_tx, events) = mpsc::channel(8);
    let shutdown = CancellationToken::new();
    let source = ManifestSource::new(dir).with_trace_hook(|| Some(TRACE));
    Running {
        events,
        task: tokio::spawn(source.run(events_tx, shutdown.clone())),
        shutdown,
        state: BTreeMap::new(),
        problems: Vec::new(),
        links: BTreeMap::new(),
        is_synced: false,
        withdrawn: 0,
        traces: Vec::new(),
    }
}

impl Running {
    /// Waits until the services, by name and last byte of their cluster IP, are these.
    pub(super) async fn until(&mut self, expected: &[(&str, u8)]) {
        let expected: Vec<(String, u8)> = expected
            .iter()
            .map(|(name, ip)| ((*name).to_owned(), *ip))
            .collect();
        self.until_services(|services| *services == expected).await;
    }

    pub(super) async fn until_true(&mut self, is_reached: impl Fn(&Self) -> bool) {
        while !is_reached(self) {
            self.follow().await;
        }
    }

    pub(super) async fn until_services(&mut self, is_reached: impl Fn(&Vec<(String, u8)>) -> bool) {
        while !(self.is_synced && is_reached(&self.services())) {
            self.follow().await;
        }
    }

    pub(super) async fn until_problems(
        &mut self,
        is_reached: impl Fn(&Vec<String>) -> bool,
    ) -> Vec<String> {
        while !is_reached(&self.problems) {
            self.follow().await;
        }
        self.problems.clone()
    }

    pub(super) fn services(&self) -> Vec<(String, u8)> {
        let last_byte = |resource: &Resource| {
            let Resource::Service(service) = resource else {
                panic!("{resource:?} is no service");
            };
            let ip = service.cluster_ips.first();
            let text = ip.map(|ip| ip.to_string()).unwrap_or_default();
            text.rsplit('.').next().unwrap().parse().unwrap_or(0)
        };
        let name = |id: &ResourceId| {
            let ResourceId::Service(name) = id else {
                panic!("{id:?} is no service's");
            };
            name.name.to_string()
        };
        let state = self.state.iter();
        state
            .map(|(id, resource)| (name(id), last_byte(resource)))
            .collect()
    }

    pub(super) async fn follow(&mut self) {
        let event = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        let Ok(event) = event else {
            panic!(
                "nothing more was told: {:?} {:?}",
                self.services(),
                self.problems
            );
        };
        match event.expect("the source ended") {
            SourceEvent::Snapshot(resources) => {
                assert!(!self.is_synced, "one snapshot is enough");
                self.is_synced = true;
                self.state = resources.into_iter().collect();
            }
            SourceEvent::Changed(changes) => {
                for (id, resource, trace) in changes {
                    self.traces.push(trace);
                    match resource {
                        Some(resource) => {
                            self.state.insert(id, resource);
                        }
                        None => {
                            self.withdrawn += 1;
                            self.state.remove(&id);
                        }
                    }
                }
            }
            SourceEvent::Links(links) => self.links = links,
            SourceEvent::Problems(problems) => {
                self.problems = problems.iter().map(ToString::to_string).collect();
            }
        }
    }
}

pub(super) fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
}

pub(super) fn service(name: &str, last_byte: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  clusterIP: 10.96.0.{last_byte}\n  ports:\n  - port: 80\n"
    )
}

pub(super) fn headless(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: None}}\n"
    )
}

pub(super) fn service_json(name: &str, last_byte: u8) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}"}}, "spec": {{"clusterIP": "10.96.0.{last_byte}"}}}}"#
    )
}
