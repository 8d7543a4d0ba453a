//! A Namespace says two things: that it exists, and whether its services may be global or exported.

use cluster_registry::{mcs::NamespaceSharing, name::Namespace as NamespaceName};
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::core::PartialObjectMeta;

use super::{Convert, Flaw, KeyError, NotOurs, name, sharing};
use crate::object::{Object, ObjectKey};

impl Convert for Namespace {
    fn key(&self) -> Result<ObjectKey, KeyError> {
        key(&self.metadata)
    }

    fn convert(&self, flaws: &mut Vec<Flaw>) -> Result<Object, NotOurs> {
        Ok(convert(&self.metadata, flaws))
    }
}

impl Convert for PartialObjectMeta<Namespace> {
    fn key(&self) -> Result<ObjectKey, KeyError> {
        key(&self.metadata)
    }

    fn convert(&self, flaws: &mut Vec<Flaw>) -> Result<Object, NotOurs> {
        Ok(convert(&self.metadata, flaws))
    }
}

fn key(meta: &ObjectMeta) -> Result<ObjectKey, KeyError> {
    Ok(ObjectKey::Namespace(NamespaceName::parse(name(meta)?)?))
}

fn convert(meta: &ObjectMeta, flaws: &mut Vec<Flaw>) -> Object {
    let allowed = sharing::is_allowed_by_namespace(meta.annotations.as_ref(), flaws);
    Object::Namespace(if allowed {
        NamespaceSharing::Allowed
    } else {
        NamespaceSharing::Excluded
    })
}
