//! A ServiceExport says that the service of its name is shared, since when, and with which labels and annotations.

use std::collections::BTreeMap;

use cluster_registry::{
    mcs::{Export, MAX_EXPORTED_BYTES},
    service::Timestamp,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Convert, Flaw, KeyError, NotOurs, service_key};
use crate::{
    api::ServiceExport,
    object::{Object, ObjectKey},
};

type Texts = BTreeMap<String, String>;

impl Convert for ServiceExport {
    fn key(&self) -> Result<ObjectKey, KeyError> {
        Ok(ObjectKey::Export(service_key(&self.metadata)?))
    }

    fn convert(&self, flaws: &mut Vec<Flaw>) -> Result<Object, NotOurs> {
        if self.metadata.deletion_timestamp.is_some() {
            return Err(NotOurs::BeingDeleted);
        }
        let mut export = Export {
            created: created(self.metadata.creation_timestamp.as_ref()),
            ..Export::default()
        };
        if let Some(spec) = &self.spec {
            let labels = spec.exported_labels.as_ref();
            let annotations = spec.exported_annotations.as_ref();
            let bytes = size(labels) + size(annotations);
            if bytes > MAX_EXPORTED_BYTES {
                flaws.push(Flaw::ExportedTooLong {
                    bytes,
                    max: MAX_EXPORTED_BYTES,
                });
            } else {
                export.labels = labels.cloned().unwrap_or_default();
                export.annotations = annotations.cloned().unwrap_or_default();
            }
        }
        Ok(Object::Export(export))
    }
}

/// The time as the registry has it; one before 1970, like none, is the oldest there is.
///
/// One in the future stands: it can only lose against the exports of other clusters.
fn created(time: Option<&Time>) -> Timestamp {
    let seconds = time.map(|time| time.0.as_second()).unwrap_or_default();
    Timestamp(u64::try_from(seconds).unwrap_or_default())
}

fn size(texts: Option<&Texts>) -> usize {
    let texts = texts.into_iter().flatten();
    texts.map(|(name, value)| name.len() + value.len()).sum()
}
