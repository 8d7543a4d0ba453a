//! The custom kinds that Isthmus reads and writes, as types; their schemas are in `helm/isthmus/crds`.

mod cluster_link;
mod service_export;
mod service_import;
#[cfg(test)]
mod tests;

pub use self::{
    cluster_link::{
        ClusterLink, ClusterLinkSpec, ClusterLinkStatus, LinkDial, LinkExport, LinkGrants,
        LinkLimits, Rejection, TrustBundleRef,
    },
    service_export::{ServiceExport, ServiceExportSpec, ServiceExportStatus},
    service_import::{
        AffinityConfig, ClientIpConfig, ExportingCluster, ImportPort, ServiceImport,
        ServiceImportSpec, ServiceImportStatus,
    },
};

/// The group of the Multi-Cluster Services API.
pub(crate) const MCS_GROUP: &str = "multicluster.x-k8s.io";

/// The version of its kinds that is read and written; the older one has the same fields.
const MCS_VERSION: &str = "v1beta1";

/// Tells kube-rs how paths and bodies name a kind.
macro_rules! kind {
    ($type:ty, $group:expr, $version:expr, $plural:literal, $kind:literal, $scope:ty) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(
                &mut self,
            ) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
use kind;
