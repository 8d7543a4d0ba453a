//! A ServiceImport says which addresses this cluster's clients dial; the rest of it follows from the exports.

use std::net::IpAddr;

use cluster_registry::mcs::ImportAddresses;

use super::{Convert, Flaw, KeyError, NotOurs, address, service_key};
use crate::{
    api::ServiceImport,
    object::{Object, ObjectKey},
};

impl Convert for ServiceImport {
    fn key(&self) -> Result<ObjectKey, KeyError> {
        Ok(ObjectKey::Import(service_key(&self.metadata)?))
    }

    fn convert(&self, flaws: &mut Vec<Flaw>) -> Result<Object, NotOurs> {
        if self.metadata.deletion_timestamp.is_some() {
            return Err(NotOurs::BeingDeleted);
        }
        let mut ips: Vec<IpAddr> = Vec::new();
        for text in &self.spec.ips {
            match address::address(text) {
                Ok(new) if ips.iter().any(|old| old.is_ipv4() == new.is_ipv4()) => {
                    flaws.push(Flaw::SecondImportIp(text.clone()));
                }
                Ok(new) => ips.push(new),
                Err(fault) => flaws.push(Flaw::Address {
                    role: "IP",
                    text: text.clone(),
                    fault,
                }),
            }
        }
        Ok(Object::Import(ImportAddresses { ips }))
    }
}
