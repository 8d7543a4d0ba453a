//! Decides what to write about one service or one link: what there shall be, less what is there.
//!
//! Pure: functions of the view, the existing objects and the time.

use std::collections::BTreeMap;

use cluster_registry::{
    link::LinkStatus,
    mcs::{Import, ImportKind},
    name::{ClusterName, ServiceName},
    view::MergedService,
};
use k8s_openapi::{
    api::discovery::v1::EndpointSlice,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference},
    jiff::Timestamp,
};

use super::{
    FIELD_MANAGER,
    condition::{self, Subject},
    exports,
    imports::{self, Addresses},
    links,
    slices::{self, Mirroring, Owner},
};
use crate::api::{
    ClusterLink, ClusterLinkStatus, McsVersion, ServiceExport, ServiceExportStatus, ServiceImport,
    ServiceImportSpec, ServiceImportStatus,
};

/// Makes endpoints of other clusters part of the local Service's own, for those who read its EndpointSlices.
const MIRROR_ANNOTATION: &str = "isthmus.io/mirror-endpoints";

/// The existing objects of one service's name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Objects {
    pub(super) export: Option<ServiceExport>,
    pub(super) import: Option<ServiceImport>,
    /// The slices that are ours, by name.
    pub(super) slices: BTreeMap<String, EndpointSlice>,
}

/// Something to write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    /// Apply a ServiceImport but for its status.
    Import(ServiceName, Box<ServiceImport>),
    /// Apply a ServiceImport's status.
    ImportStatus(ServiceName, ServiceImportStatus),
    /// Delete a ServiceImport, if it is still the one with this uid.
    DeleteImport(ServiceName, String),
    /// Apply an EndpointSlice.
    Slice(ServiceName, Box<EndpointSlice>),
    /// Delete an EndpointSlice of a service.
    DeleteSlice(ServiceName, String),
    /// Apply a ServiceExport's status.
    ExportStatus(ServiceName, ServiceExportStatus),
    /// Apply the condition of a Service that is ours, or take it away.
    ServiceCondition(ServiceName, Option<Box<Condition>>),
    /// Tell of a conflict, of the object with this uid.
    Event {
        about: About,
        uid: String,
        reason: String,
        message: String,
    },
    /// Apply a ClusterLink's status.
    LinkStatus(ClusterName, Box<ClusterLinkStatus>),
}

impl Write {
    /// Whether it sets conditions that an Event tells of.
    pub(super) fn is_condition(&self) -> bool {
        match self {
            Self::ExportStatus(..) | Self::ServiceCondition(..) => true,
            Self::Import(..)
            | Self::ImportStatus(..)
            | Self::DeleteImport(..)
            | Self::Slice(..)
            | Self::DeleteSlice(..)
            | Self::Event { .. }
            | Self::LinkStatus(..) => false,
        }
    }
}

/// What an Event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum About {
    /// The ServiceExport of this name.
    Export(ServiceName),
    /// The Service of this name.
    Service(ServiceName),
}

impl About {
    pub(super) fn name(&self) -> &ServiceName {
        match self {
            Self::Export(name) | Self::Service(name) => name,
        }
    }

    /// Its kind, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Export(_) => "ServiceExport",
            Self::Service(_) => "Service",
        }
    }
}

/// What plans of services have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// This cluster.
    pub(super) own: &'a ClusterName,
    pub(super) version: McsVersion,
    pub(super) now: Timestamp,
}

/// What to write about one service's name; `addresses` are those of its import, if it has one that is dialled.
pub(super) fn service(
    name: &ServiceName,
    service: Option<&MergedService>,
    objects: &Objects,
    addresses: &Addresses,
    context: Context<'_>,
) -> Vec<Write> {
    let mut writes = Vec::new();
    let import = service.and_then(|service| service.import.as_deref());
    match (import, &objects.import) {
        (Some(import), existing) => {
            write_import(
                name,
                import,
                existing.as_ref(),
                addresses,
                &mut writes,
                context,
            );
        }
        // One that others made is theirs to delete.
        (None, Some(existing)) if is_ours(&existing.metadata) => {
            let uid = existing.metadata.uid.clone().unwrap_or_default();
            writes.push(Write::DeleteImport(name.clone(), uid));
        }
        (None, Some(_) | None) => {}
    }
    write_slices(name, service, objects, &mut writes, context);
    if let Some(export) = &objects.export {
        write_export(name, service, export, &mut writes, context);
    }
    writes
}

fn write_import(
    name: &ServiceName,
    import: &Import,
    existing: Option<&ServiceImport>,
    addresses: &Addresses,
    writes: &mut Vec<Write>,
    context: Context<'_>,
) {
    let none = Ok(Vec::new());
    let addresses = match import.kind {
        ImportKind::ClusterSetIp => addresses,
        ImportKind::Headless => &none,
    };
    let wanted = wanted_import(name, import, imports::spec(import, addresses));
    let is_there = existing.is_some_and(|existing| {
        existing.spec == wanted.spec
            && existing.metadata.labels.clone().unwrap_or_default() == import.labels
            && existing.metadata.annotations.clone().unwrap_or_default() == import.annotations
    });
    if !is_there {
        writes.push(Write::Import(name.clone(), Box::new(wanted)));
    }
    // The status of an object that is not there yet follows once it is.
    let Some(existing) = existing else { return };
    let old = existing.status.clone().unwrap_or_default();
    let subject = subject(&old.conditions, &existing.metadata, context.now);
    let status = imports::status(import, addresses, subject);
    let is_there = status.clusters == old.clusters
        && condition::are_there(&status.conditions, &old.conditions);
    if !is_there {
        writes.push(Write::ImportStatus(name.clone(), status));
    }
}

fn wanted_import(name: &ServiceName, import: &Import, spec: ServiceImportSpec) -> ServiceImport {
    let texts = |texts: &BTreeMap<String, String>| (!texts.is_empty()).then(|| texts.clone());
    ServiceImport {
        metadata: ObjectMeta {
            name: Some(name.name.to_string()),
            namespace: Some(name.namespace.to_string()),
            labels: texts(&import.labels),
            annotations: texts(&import.annotations),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

fn write_slices(
    name: &ServiceName,
    service: Option<&MergedService>,
    objects: &Objects,
    writes: &mut Vec<Write>,
    context: Context<'_>,
) {
    let reference = objects
        .import
        .as_ref()
        .and_then(|import| reference(import, context.version));
    let wanted = match (service, &reference) {
        (Some(service), Some(reference)) => {
            let owner = Owner {
                service: name,
                own: context.own,
                reference,
            };
            let mirroring = mirroring(service, objects);
            slices::slices(service, mirroring, owner, &objects.slices)
        }
        // Slices follow the import; with it they go.
        (Some(service), None) if service.import.is_some() => return,
        (Some(_) | None, _) => BTreeMap::new(),
    };
    for (slice_name, slice) in &wanted {
        if !objects
            .slices
            .get(slice_name)
            .is_some_and(|old| is_same_slice(old, slice))
        {
            writes.push(Write::Slice(name.clone(), Box::new(slice.clone())));
        }
    }
    // The new ones are written before the old ones go, so that no endpoint is missing meanwhile.
    for old in objects
        .slices
        .keys()
        .filter(|old| !wanted.contains_key(*old))
    {
        writes.push(Write::DeleteSlice(name.clone(), old.clone()));
    }
}

fn mirroring(service: &MergedService, objects: &Objects) -> Mirroring {
    let Some(import) = &service.import else {
        return Mirroring::Off;
    };
    let export = objects
        .export
        .as_ref()
        .and_then(|e| e.metadata.annotations.as_ref());
    let says = |texts: &BTreeMap<String, String>| texts.get(MIRROR_ANNOTATION).map(|v| v == "true");
    let is_wanted = export.and_then(says).or_else(|| says(&import.annotations));
    match (is_wanted, import.kind) {
        (Some(true), _) if service.local.is_some() => Mirroring::Service,
        (Some(true), _) | (None, ImportKind::Headless) => Mirroring::Import,
        (Some(false), _) | (None, ImportKind::ClusterSetIp) => Mirroring::Off,
    }
}

fn is_same_slice(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    let has_labels = new.metadata.labels.iter().flatten().all(|(label, value)| {
        let labels = old.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(label)) == Some(value)
    });
    let lacks_service = |slice: &EndpointSlice| {
        let labels = slice.metadata.labels.as_ref();
        labels.is_none_or(|labels| !labels.contains_key(crate::convert::SERVICE_NAME_LABEL))
    };
    has_labels
        && lacks_service(old) == lacks_service(new)
        && old.metadata.owner_references == new.metadata.owner_references
        && old.endpoints == new.endpoints
        && old.ports == new.ports
}

fn write_export(
    name: &ServiceName,
    service: Option<&MergedService>,
    export: &ServiceExport,
    writes: &mut Vec<Write>,
    context: Context<'_>,
) {
    let none: &[Condition] = &[];
    let old = export
        .status
        .as_ref()
        .map_or(none, |status| &status.conditions);
    let subject = subject(old, &export.metadata, context.now);
    let conditions = exports::conditions(service, context.own, subject);
    if condition::are_there(&conditions, old) {
        return;
    }
    if let Some(conflict) = exports::news(&conditions, old) {
        writes.push(Write::Event {
            about: About::Export(name.clone()),
            uid: export.metadata.uid.clone().unwrap_or_default(),
            // An Event has one reason, which must be one word.
            reason: conflict
                .reason
                .split(',')
                .next()
                .unwrap_or_default()
                .to_owned(),
            message: conflict.message.clone(),
        });
    }
    writes.push(Write::ExportStatus(
        name.clone(),
        ServiceExportStatus { conditions },
    ));
}

/// What to write about one link; counts alone are only worth it when `with_counts` is set.
pub(super) fn link(
    name: &ClusterName,
    object: &ClusterLink,
    link: Option<&LinkStatus>,
    with_counts: bool,
    now: Timestamp,
) -> Option<Write> {
    let old = object.status.clone().unwrap_or_default();
    let subject = subject(&old.conditions, &object.metadata, now);
    let status = links::status(link, subject);
    let are_there = condition::are_there(&status.conditions, &old.conditions);
    let rest = |status: &ClusterLinkStatus| ClusterLinkStatus {
        conditions: Vec::new(),
        ..status.clone()
    };
    let is_same = are_there && (!with_counts || rest(&status) == rest(&old));
    (!is_same).then(|| Write::LinkStatus(name.clone(), Box::new(status)))
}

fn subject<'a>(existing: &'a [Condition], metadata: &ObjectMeta, now: Timestamp) -> Subject<'a> {
    Subject {
        existing,
        generation: metadata.generation,
        now,
    }
}

/// Whether an object was applied by a gateway.
fn is_ours(metadata: &ObjectMeta) -> bool {
    let fields = metadata.managed_fields.iter().flatten();
    fields
        .into_iter()
        .any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
}

/// Names an import as an owner; `None` of one that is not kept yet.
fn reference(import: &ServiceImport, version: McsVersion) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: format!("{}/{}", crate::api::MCS_GROUP, version.as_str()),
        kind: "ServiceImport".to_owned(),
        name: import.metadata.name.clone()?,
        uid: import.metadata.uid.clone()?,
        ..OwnerReference::default()
    })
}
