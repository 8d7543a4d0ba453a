//! Holds the crates to the arrows of ARCHITECTURE.md, and the pure ones to their purity.

use anyhow::bail;
use serde::Deserialize;

use crate::task::command::{cargo, output};

/// What a crate may import of ours; crates that nothing imports may import anything and are not listed.
const ARROWS: [(&str, &[&str]); 12] = [
    ("cluster-registry", &[]),
    ("node-dp-common", &[]),
    ("node-dp-bpf-build", &[]),
    ("mesh-gateway-core", &["cluster-registry"]),
    ("node-dp-core", &["cluster-registry", "node-dp-common"]),
    ("certs", &["cluster-registry"]),
    ("cluster-registry-kube", &["cluster-registry"]),
    ("isthmus-daemon", &["cluster-registry"]),
    ("node-dp-ebpf", &["node-dp-common"]),
    (
        "mesh-link",
        &["cluster-registry", "mesh-gateway-core", "certs"],
    ),
    (
        "mesh-gateway",
        &[
            "cluster-registry",
            "cluster-registry-kube",
            "mesh-gateway-core",
            "mesh-link",
            "certs",
            "isthmus-daemon",
        ],
    ),
    (
        "node-dp",
        &[
            "cluster-registry",
            "mesh-gateway-core",
            "mesh-link",
            "node-dp-common",
            "node-dp-core",
            "node-dp-bpf-build",
            "certs",
            "isthmus-daemon",
        ],
    ),
];

/// The crates that take no clock, socket, environment or randomness.
const PURE: [&str; 4] = [
    "cluster-registry",
    "mesh-gateway-core",
    "node-dp-common",
    "node-dp-core",
];

/// What a pure crate may not have below it: runtimes, sockets, clocks, randomness.
const IMPURE: [&str; 20] = [
    "async-std",
    "aya",
    "chrono",
    "fastrand",
    "getrandom",
    "hyper",
    "jiff",
    "kube",
    "libc",
    "mio",
    "nix",
    "quinn",
    "rand",
    "rand_core",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "time",
    "tokio",
];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Fails with every arrow that the table lacks and every impurity.
pub(crate) fn check() -> anyhow::Result<()> {
    let json = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&json)?;
    let mut faults = wrong_arrows(&metadata.packages);
    for pure in PURE {
        let tree = output(cargo().args([
            "tree",
            "--package",
            pure,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]))?;
        faults.extend(impurities(pure, &tree));
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

fn wrong_arrows(packages: &[Package]) -> Vec<String> {
    let is_ours = |name: &str| packages.iter().any(|package| package.name == name);
    let mut faults = Vec::new();
    for package in packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            continue;
        };
        for dependency in &package.dependencies {
            let is_for_tests = dependency.kind.as_deref() == Some("dev");
            if is_ours(&dependency.name)
                && !is_for_tests
                && !allowed.contains(&dependency.name.as_str())
            {
                faults.push(format!("{} imports {}", package.name, dependency.name));
            }
        }
    }
    faults
}

fn impurities(pure: &str, tree: &str) -> Vec<String> {
    tree.lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| IMPURE.contains(name))
        .map(|name| format!("{pure}, a pure crate, has {name} below it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_that_the_table_lacks_is_a_fault() {
        let packages = [
            package("certs", &[("cluster-registry", None), ("mesh-link", None)]),
            package("cluster-registry", &[]),
            package("mesh-link", &[]),
        ];

        assert_eq!(wrong_arrows(&packages), ["certs imports mesh-link"]);
    }

    #[test]
    fn tests_may_import_anything() {
        let packages = [
            package("cluster-registry", &[("mesh-link", Some("dev"))]),
            package("mesh-link", &[]),
        ];

        assert_eq!(wrong_arrows(&packages), Vec::<String>::new());
    }

    #[test]
    fn a_clock_below_a_pure_crate_is_a_fault() {
        let tree = "node-dp-core v0.1.0 (/x)\ntime v0.3.0\nipnet v2.0.0\n";

        assert_eq!(
            impurities("node-dp-core", tree),
            ["node-dp-core, a pure crate, has time below it"]
        );
    }

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        Package {
            name: name.to_owned(),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency {
                    name: (*name).to_owned(),
                    kind: kind.map(str::to_owned),
                })
                .collect(),
        }
    }
}
