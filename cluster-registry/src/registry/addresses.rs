//! Gives imports their addresses from pools of this cluster's own, where no API server does.

use std::collections::BTreeMap;

use super::Registry;
use crate::{
    mcs::{
        ImportAddresses,
        addresses::{AllocationError, Allocator},
    },
    name::ServiceName,
    resource::{Resource, ResourceId},
    traffic::IpFamilies,
    view::View,
};

/// The pools, and which imports got nothing from them.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    allocator: Allocator,
    problems: BTreeMap<ServiceName, AllocationError>,
}

impl Registry {
    /// Hands out the addresses of imports from now on; else the source says which ones they have.
    ///
    /// Addresses that are applied as [`ResourceId::Import`] are then taken for those of an earlier life.
    pub fn allocate_from(&mut self, allocator: Allocator) {
        self.addresses = Some(Addresses {
            allocator,
            problems: BTreeMap::new(),
        });
    }

    /// Gives new imports addresses and takes back those of imports that are gone.
    ///
    /// Call it after changes, before readers of the feed and of the view are told.
    pub fn settle_imports(&mut self) {
        if self.addresses.is_none() {
            return;
        }
        let view = self.merge.view();
        let touched: Vec<ServiceName> = self.merge.touched().services.iter().cloned().collect();
        let mut has_released = false;
        for name in touched {
            let service = view.services.get(&name);
            let import = service.and_then(|service| service.addressed_import());
            match import {
                Some(import) => self.assign(&name, import.ip_families),
                None => has_released |= self.release(&name),
            }
        }
        if has_released {
            self.assign_waiting(&view);
        }
        self.settle_claims();
    }

    /// Others may have waited for what was given back.
    fn assign_waiting(&mut self, view: &View) {
        for name in self.import_problems().keys().cloned().collect::<Vec<_>>() {
            let service = view.services.get(&name);
            if let Some(import) = service.and_then(|service| service.addressed_import()) {
                self.assign(&name, import.ip_families);
            }
        }
    }

    /// The imports without an address, and why.
    pub fn import_problems(&self) -> &BTreeMap<ServiceName, AllocationError> {
        const NONE: &BTreeMap<ServiceName, AllocationError> = &BTreeMap::new();
        self.addresses.as_ref().map_or(NONE, |a| &a.problems)
    }

    /// Whether a resource is of this registry's own making, and not the source's.
    pub(super) fn allocates(&self, id: &ResourceId) -> bool {
        self.addresses.is_some() && matches!(id, ResourceId::Import(_))
    }

    /// Takes the addresses of an import: from the source as they are, or from an earlier life if they can still be had.
    pub(super) fn apply_import(&mut self, name: &ServiceName, value: Option<Resource>) {
        let value = match (&mut self.addresses, value) {
            (Some(addresses), Some(Resource::Import(import))) => {
                let ips = addresses.allocator.adopt(name, &import.ips);
                (!ips.is_empty()).then(|| ImportAddresses { ips }.into())
            }
            // What is allocated here ends with its import.
            (Some(_), _) => return,
            (None, value) => value,
        };
        self.set_local(&ResourceId::Import(name.clone()), value, None);
    }

    fn assign(&mut self, name: &ServiceName, families: IpFamilies) {
        let Some(addresses) = &mut self.addresses else {
            return;
        };
        let ips = match addresses.allocator.assign(name, families) {
            Ok(ips) => {
                addresses.problems.remove(name);
                ips
            }
            Err(error) => {
                addresses.problems.insert(name.clone(), error);
                return;
            }
        };
        let value = Resource::from(ImportAddresses { ips });
        self.set_local(&ResourceId::Import(name.clone()), Some(value), None);
    }

    fn release(&mut self, name: &ServiceName) -> bool {
        let Some(addresses) = &mut self.addresses else {
            return false;
        };
        addresses.problems.remove(name);
        let was_held = addresses.allocator.is_holder(name);
        if was_held {
            addresses.allocator.release(name);
            self.set_local(&ResourceId::Import(name.clone()), None, None);
        }
        was_held
    }
}

#[cfg(test)]
mod tests;
