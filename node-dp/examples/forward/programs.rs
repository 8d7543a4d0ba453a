//! How many instructions of each program the kernel has looked at before it took it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aya::programs::loaded_programs;
use node_dp::datapath::FastPath;

use crate::{
    network::{Host, ip},
    node::Places,
};

/// Loads all programs, and asks.
pub(crate) fn verified(places: &Arc<Places>) -> anyhow::Result<BTreeMap<String, Option<u32>>> {
    let host = Host::alone();
    let places = Arc::clone(places);
    host.run(move || {
        ip("link add out0 type veth peer name out1");
        let known = ids();
        let (_datapath, _) = places.open("programs", &["out0"], FastPath::Generic)?;
        Ok(loaded_programs()
            .filter_map(Result::ok)
            .filter(|program| !known.contains(&program.id()))
            .filter_map(|program| {
                let name = program.name_as_str()?.to_owned();
                Some((name, program.verified_instruction_count()))
            })
            .collect())
    })
}

fn ids() -> BTreeSet<u32> {
    let programs = loaded_programs().filter_map(Result::ok);
    programs.map(|program| program.id()).collect()
}
