//! What a test or a person does to a lab: cut lines, kill programs, change manifests; and what the daemons then say.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    apiserver, cgroup, cut,
    cut::{Cut, Direction},
    daemon,
    http::Answer,
    lab::Lab,
    objects,
    target::Target,
};

impl Lab {
    /// Cuts two places, each a cluster or `<cluster>/<node>`, off from each other, silently.
    pub fn cut(&self, from: &str, to: &str, direction: Direction) -> Result<()> {
        cut::cut(self.plan(), from, to, direction)
            .with_context(|| format!("cutting {from} off from {to}"))
    }

    /// Takes the cuts between two places away.
    pub fn heal(&self, from: &str, to: &str, direction: Direction) -> Result<()> {
        cut::heal(self.plan(), from, to, direction)
            .with_context(|| format!("healing {from} and {to}"))
    }

    /// Takes all cuts away.
    pub fn heal_all(&self) -> Result<()> {
        cut::heal_all(self.plan()).context("healing all cuts")
    }

    /// The cuts in force.
    pub fn cuts(&self) -> Result<BTreeSet<Cut>> {
        cut::in_force(self.plan())
    }

    /// Kills the program of a daemon or a pod and waits for its end.
    pub fn kill(&self, target: &Target) -> Result<()> {
        daemon::kill(self.plan(), target, Signal::SIGKILL)
    }

    /// Asks a program to end in order (SIGTERM) and waits for its end.
    pub fn terminate(&self, target: &Target) -> Result<()> {
        daemon::kill(self.plan(), target, Signal::SIGTERM)
    }

    /// Whether the program of a daemon or a pod lives.
    pub fn is_running(&self, target: &Target) -> Result<bool> {
        Ok(cgroup::is_populated(&target.cgroup(self.plan())?))
    }

    /// The resident memory of a program in bytes.
    pub fn resident_bytes(&self, target: &Target) -> Result<u64> {
        cgroup::resident_bytes(&target.cgroup(self.plan())?)
    }

    /// All that runs in the lab by itself: gateways, agents, pods with a command.
    pub fn targets(&self) -> Vec<Target> {
        Target::all(self.plan())
    }

    /// What a cluster's first gateway says of itself.
    pub fn gateway_status(&self, cluster: &str) -> Result<Value> {
        daemon::status(self.plan(), &Target::gateway(cluster))
    }

    /// What a daemon says of itself.
    pub fn status(&self, daemon: &Target) -> Result<Value> {
        daemon::status(self.plan(), daemon)
    }

    /// What a node's agent says of itself.
    pub fn agent_status(&self, cluster: &str, node: &str) -> Result<Value> {
        daemon::status(self.plan(), &Target::agent(cluster, node))
    }

    /// Fetches a page, such as `/metrics`, of a daemon's admin endpoint.
    pub fn admin(&self, target: &Target, path: &str) -> Result<Answer> {
        daemon::ask(self.plan(), target, path)
    }

    /// Gives a daemon an order at a path of its admin endpoint.
    pub fn order(&self, target: &Target, path: &str) -> Result<Answer> {
        daemon::order(self.plan(), target, path)
    }

    /// A cluster's manifest as it was written last.
    pub fn manifest(&self, cluster: &str, file: &str) -> Result<String> {
        let path = self.plan().manifests_dir(cluster).join(file);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Writes or replaces one manifest of a cluster, as `kubectl apply` would.
    pub fn write_manifest(&self, cluster: &str, file: &str, text: &str) -> Result<()> {
        self.plan().cluster(cluster)?;
        ensure!(!file.contains('/'), "'{file}' is no plain file name");
        objects::write(self.plan(), cluster, file, text)
    }

    /// Gives the global service of one manifest of a cluster one more annotation.
    pub fn annotate(&self, cluster: &str, file: &str, annotation: &str) -> Result<()> {
        let manifest = self.manifest(cluster, file)?;
        let global = "    isthmus.io/global: \"true\"\n";
        ensure!(manifest.contains(global), "{file} has no global service");
        let annotated = manifest.replace(global, &format!("{global}    {annotation}\n"));
        self.write_manifest(cluster, file, &annotated)
    }

    /// Removes one manifest of a cluster.
    pub fn remove_manifest(&self, cluster: &str, file: &str) -> Result<()> {
        objects::remove(self.plan(), cluster, file)
    }

    /// An object of a cluster's API server, named by `apiVersion`, `kind`, namespace and name; `None` when there is none.
    pub fn object(&self, cluster: &str, named: &Value) -> Result<Option<Value>> {
        apiserver::get(self.plan(), cluster, named)
    }

    /// The objects of a kind in a namespace of a cluster's API server, both named by those of `sample`.
    pub fn objects(&self, cluster: &str, sample: &Value) -> Result<Vec<Value>> {
        apiserver::list(self.plan(), cluster, sample)
    }

    /// The folder with the credentials of a cluster's gateway, or of a node's agent.
    pub fn credentials_dir(&self, cluster: &str, node: Option<&str>) -> std::path::PathBuf {
        daemon::credentials_dir(self.plan(), cluster, node)
    }

    /// The folder of the authority that the lab's daemons trust.
    pub fn authority_dir(&self) -> std::path::PathBuf {
        daemon::authority_dir(self.plan())
    }
}
