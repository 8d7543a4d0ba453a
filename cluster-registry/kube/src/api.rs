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

/// A version of the Multi-Cluster Services API; both have the same fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum McsVersion {
    /// The newer one.
    #[default]
    V1Beta1,
    /// The only one where the kinds were installed for an older implementation.
    V1Alpha1,
}

impl McsVersion {
    /// All of them, the preferred first.
    pub(crate) const ALL: [Self; 2] = [Self::V1Beta1, Self::V1Alpha1];

    /// The version as paths and bodies have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta1 => "v1beta1",
            Self::V1Alpha1 => "v1alpha1",
        }
    }
}

/// Tells kube-rs how paths and bodies name a kind.
macro_rules! kind {
    ($type:ty, $dynamic:ty, $group:expr, $version:expr, $plural:literal, $kind:literal, $scope:ty) => {
        impl kube::Resource for $type {
            type DynamicType = $dynamic;
            type Scope = $scope;

            fn kind(_version: &$dynamic) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group(_version: &$dynamic) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version(version: &$dynamic) -> std::borrow::Cow<'_, str> {
                let version_text: fn($dynamic) -> &'static str = $version;
                version_text(*version).into()
            }

            fn plural(_version: &$dynamic) -> std::borrow::Cow<'_, str> {
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
