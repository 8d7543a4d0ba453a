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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_that_cannot_be_dialled_are_left_out() {
        let given: ServiceImport = serde_json::from_value(json!({"metadata": {"name": "web"},
            "spec": {"ips": ["10.97.0.1", "10.97.0.2", "nonsense", "127.0.0.1", "fd00:97::1"]}}))
        .unwrap();
        let mut flaws = Vec::new();
        let object = given.convert(&mut flaws);

        let ips = ["10.97.0.1", "fd00:97::1"].map(|text| text.parse().unwrap());
        let expected = ImportAddresses { ips: ips.into() };
        assert_eq!(object, Ok(Object::Import(expected)));
        let told: Vec<String> = flaws.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "'10.97.0.2' is a second IP of its family: it is left out",
                "IP 'nonsense' is not an IP address: it is left out",
                "IP '127.0.0.1' is a loopback address: it is left out"
            ]
        );
    }
}
