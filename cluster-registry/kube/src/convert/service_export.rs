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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_export_is_of_its_time_and_with_what_it_exports() {
        let (object, flaws) = converted(json!({
            "metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"own": "label"}},
            "spec": {"exportedLabels": {"a": "b"}, "exportedAnnotations": {"c": "d"}}}));
        let Ok(Object::Export(export)) = object else {
            panic!("{object:?}");
        };
        assert_eq!(export.created, Timestamp(1_767_323_045));
        assert_eq!(export.labels, [("a".to_owned(), "b".to_owned())].into());
        assert_eq!(
            export.annotations,
            [("c".to_owned(), "d".to_owned())].into()
        );
        assert_eq!(flaws, []);
    }

    #[test]
    fn an_object_without_a_namespace_is_in_the_default_one() {
        let given: ServiceExport =
            serde_json::from_value(json!({"metadata": {"name": "web"}})).unwrap();
        assert_eq!(
            given.key().unwrap().to_string(),
            "ServiceExport default/web"
        );
    }

    #[test]
    fn a_name_that_is_too_long_or_missing_does_not_count() {
        let long = "a".repeat(64);
        for (name, expected) in [
            (json!(long), "64 bytes long, more than 63"),
            (json!(null), "missing"),
        ] {
            let given: ServiceExport =
                serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            let error = given.key().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_time_in_the_future_stands_and_one_before_1970_is_the_oldest() {
        for (text, expected) in [
            ("2999-01-01T00:00:00Z", 32_472_144_000),
            ("1960-01-01T00:00:00Z", 0),
        ] {
            let (object, _) =
                converted(json!({"metadata": {"name": "web", "creationTimestamp": text}}));
            let Ok(Object::Export(export)) = object else {
                panic!("{object:?}");
            };
            assert_eq!(export.created, Timestamp(expected));
        }
    }

    #[test]
    fn labels_without_end_are_left_out_and_the_export_counts() {
        let (object, flaws) = converted(json!({"metadata": {"name": "web"},
            "spec": {"exportedAnnotations": {"a": "x".repeat(MAX_EXPORTED_BYTES)}}}));
        assert!(matches!(object, Ok(Object::Export(export)) if export.annotations.is_empty()));
        assert_eq!(flaws.len(), 1, "{flaws:?}");
    }

    #[test]
    fn an_export_that_is_being_deleted_exports_nothing() {
        let (object, _) = converted(json!({"metadata": {"name": "web",
            "deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["somebody/else"]}}));
        assert_eq!(object, Err(NotOurs::BeingDeleted));
    }

    fn converted(value: Value) -> (Result<Object, NotOurs>, Vec<Flaw>) {
        let mut flaws = Vec::new();
        let given: ServiceExport = serde_json::from_value(value).unwrap();
        (given.convert(&mut flaws), flaws)
    }
}
