//! What clusters hear of each other: what one exports, the others merge at once.

use std::sync::Arc;

use cluster_registry::{
    merge::Merge,
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
    view::View,
};
use tokio::sync::{mpsc, watch};

use crate::source::SourceEvent;

/// Marks a source's events with its cluster's number.
pub(super) async fn pass_on(
    number: usize,
    mut source: mpsc::Receiver<SourceEvent>,
    events: mpsc::Sender<(usize, SourceEvent)>,
) {
    while let Some(event) = source.recv().await {
        if events.send((number, event)).await.is_err() {
            return;
        }
    }
}

/// Merges what the sources say, and tells each cluster's exports to the others.
pub(super) async fn exchange(
    mut events: mpsc::Receiver<(usize, SourceEvent)>,
    views: Vec<(ClusterName, watch::Sender<Option<Arc<View>>>)>,
) {
    let mut merges: Vec<Merge> = views
        .iter()
        .map(|(name, _)| Merge::new(name.clone()))
        .collect();
    while let Some((number, event)) = events.recv().await {
        let changes: Vec<(ResourceId, Option<Resource>)> = match event {
            SourceEvent::Snapshot(resources) => resources
                .into_iter()
                .map(|(id, value)| (id, Some(value)))
                .collect(),
            SourceEvent::Changed(changes) => changes
                .into_iter()
                .map(|(id, value, _)| (id, value))
                .collect(),
            SourceEvent::Links(_) | SourceEvent::Problems(_) => continue,
        };
        for (id, value) in changes {
            let key = Key {
                cluster: views[number].0.clone(),
                id,
            };
            for (other, merge) in merges.iter_mut().enumerate() {
                if other == number {
                    merge.apply(&key, value.as_ref());
                } else if let Some(told) = told(&key.id, value.as_ref()) {
                    merge.apply(&key, told.as_ref());
                }
            }
        }
        for (merge, (_, views_tx)) in merges.iter_mut().zip(&views) {
            views_tx.send_replace(Some(merge.view()));
        }
    }
}

/// What other clusters hear of a change; `None` when nothing.
fn told(id: &ResourceId, value: Option<&Resource>) -> Option<Option<Resource>> {
    match (id, value) {
        (ResourceId::Service(_), Some(Resource::Service(service))) => {
            let told = service
                .is_exported()
                .then(|| Resource::from(service.for_peers()));
            Some(told)
        }
        (ResourceId::Service(_) | ResourceId::Endpoint(..), value) => Some(value.cloned()),
        (
            ResourceId::Cluster
            | ResourceId::Node(_)
            | ResourceId::Tunnel(_)
            | ResourceId::Namespace(_)
            | ResourceId::Import(_),
            _,
        ) => None,
    }
}
