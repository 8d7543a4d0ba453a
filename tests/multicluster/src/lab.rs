//! A lab: built, used and removed through one value.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Output, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};

use crate::{
    cgroup,
    claim::{claim, kept_marker},
    controller::{self, Controller},
    daemon,
    mode::Mode,
    netns, network,
    plan::{self, Plan},
    preflight::{self, Unfit},
    process::{self, EXEC_GROUP, Launch, MAIN_GROUP},
    slices,
    sweep::{self, Watcher},
    target::Target,
    topology::{Topology, check_lab_name},
    wait::{wait_for, wait_until},
};

/// How much of a log goes into an error.
const LOG_LINES: usize = 25;

/// How a lab is built.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether gateways and agents run in it.
    pub daemons: bool,
    /// Where its gateways read their cluster's objects.
    pub mode: Mode,
    /// The folder of the daemons' programs; none: beside the running program, or `ISTHMUS_BIN_DIR`.
    pub bin_dir: Option<PathBuf>,
    /// How long everything in it may take to be ready.
    pub ready_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            daemons: true,
            mode: Mode::Manifests,
            bin_dir: None,
            ready_within: Duration::from_secs(30),
        }
    }
}

impl Options {
    /// A lab whose gateways read their cluster's objects there.
    pub fn in_mode(mode: Mode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }

    /// A lab of pods alone.
    pub fn without_daemons() -> Self {
        Self {
            daemons: false,
            ..Self::default()
        }
    }
}

/// A lab on this machine; its owner removes it by dropping this, and if the owner dies a watcher does it.
#[derive(Debug)]
pub struct Lab {
    plan: Plan,
    /// `None` for a visitor, who leaves the lab as it is.
    owner: Option<Owner>,
}

/// What only the lab's owner has.
#[derive(Debug)]
struct Owner {
    /// Ends before the watcher sweeps, so that it writes no more files.
    controller: Option<Controller>,
    watcher: Option<Watcher>,
    /// Held for life: it tells other programs that the owner lives.
    _lock: File,
}

impl Lab {
    /// Builds a lab and waits until everything in it is ready; API servers are only for a lab with daemons.
    pub fn up(topology: &Topology, options: &Options) -> Result<Self> {
        if options.daemons {
            preflight::run()?;
        } else if !preflight::is_root() {
            return Err(Unfit::NotRoot.into());
        }
        let cgroup_mount = cgroup::mount_point().ok_or(Unfit::NoCgroup2)?;
        let mut plan = Plan::new(topology, &cgroup_mount)?;
        if options.daemons {
            plan.mode = options.mode;
            let bin_dir = options.bin_dir.as_deref();
            plan.programs = Some(daemon::find_programs(bin_dir, options.mode)?);
        }
        let lock = claim(plan.lab())?;
        let watcher = Watcher::start(plan.lab())?;
        let mut lab = Self {
            plan,
            owner: Some(Owner {
                controller: None,
                watcher: Some(watcher),
                _lock: lock,
            }),
        };
        lab.build()
            .and_then(|()| lab.wait_ready(options.ready_within))
            .with_context(|| format!("building lab {}", lab.name()))?;
        Ok(lab)
    }

    /// Visits a lab that another process built.
    pub fn open(name: &str) -> Result<Self> {
        check_lab_name(name)?;
        let file = plan::run_dir(name).join("state.json");
        let text = fs::read_to_string(&file)
            .with_context(|| format!("there is no lab {name}: `isthmus lab up` builds one"))?;
        let plan = serde_json::from_str(&text)
            .with_context(|| format!("understanding {}", file.display()))?;
        Ok(Self { plan, owner: None })
    }

    /// Lets the lab live on after this process; `controller` is a command that runs [`Lab::run_controller`] for it.
    pub fn keep(mut self, controller: &[&OsStr]) -> Result<()> {
        let Some(mut owner) = self.owner.take() else {
            return Ok(());
        };
        drop(owner.controller.take());
        let marker = kept_marker(self.name());
        fs::write(&marker, "").with_context(|| format!("writing {}", marker.display()))?;
        if !controller.is_empty() {
            Launch::beside(&self.plan, "@controller")
                .argv(controller)
                .spawn_logged(&self.plan.log_file("lab", "controller"))?;
        }
        owner.watcher.take().map_or(Ok(()), Watcher::keep)
    }

    /// Keeps the EndpointSlices of a kept lab true until the lab is gone.
    pub fn run_controller(&self) {
        controller::run(&self.plan);
    }

    /// Removes the lab and says if something could not be removed.
    pub fn down(mut self) -> Result<()> {
        match self.owner.take() {
            Some(owner) => owner.end(),
            None => sweep::sweep(self.name()),
        }
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        self.plan.lab()
    }

    /// Where everything in it is.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs a command in a pod, `<cluster>/<pod>`, to its end.
    pub fn exec(
        &self,
        pod: &str,
        argv: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Output> {
        self.in_pod(pod)?.argv(argv).output()
    }

    /// Runs a command in a pod and hands back its standard output; a failed command is an error.
    pub fn ask(
        &self,
        pod: &str,
        argv: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<String> {
        let output = self.exec(pod, argv)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "the command in {pod} ended with {}: {}",
                output.status,
                said.trim()
            );
        }
        String::from_utf8(output.stdout).context("reading what a command printed")
    }

    /// Starts a command in a pod; its output can be read along.
    pub fn spawn(
        &self,
        pod: &str,
        argv: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<process::Process> {
        spawn(self.in_pod(pod)?.argv(argv))
    }

    /// Turns the calling process into a command in a pod, with its terminal; returns only on failure.
    pub fn exec_here(
        &self,
        pod: &str,
        argv: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<std::convert::Infallible> {
        self.in_pod(pod)?.argv(argv).replace_caller()
    }

    /// Starts a command on a node.
    pub fn spawn_on_node(
        &self,
        cluster: &str,
        node: &str,
        argv: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<process::Process> {
        let node = self.plan.node(cluster, node)?;
        spawn(Launch::on_node(&self.plan, node, "@exec").argv(argv))
    }

    /// Starts a command in the network between the nodes, where all that crosses clusters can be seen.
    pub fn spawn_between_nodes(
        &self,
        argv: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<process::Process> {
        spawn(Launch::between_nodes(&self.plan).argv(argv))
    }

    /// Listens in the network between the nodes; every node reaches it at [`network::BETWEEN_NODES`].
    pub fn listen_between_nodes(&self, port: u16) -> Result<TcpListener> {
        netns::inside(&self.plan.net(), || {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
                .with_context(|| format!("listening at port {port} between the nodes"))
        })
    }

    /// Starts the program of a daemon or a pod again.
    pub fn start(&self, target: &Target) -> Result<()> {
        daemon::start(&self.plan, target)
    }

    /// Starts a program and waits until it is ready.
    pub fn start_and_wait(&self, target: &Target, within: Duration) -> Result<()> {
        self.start(target)?;
        wait_until(within, &format!("{target} is ready"), || {
            self.is_ready(target)
        })
    }

    /// The last lines that a daemon or a pod's program said.
    pub fn log_tail(&self, target: &Target) -> String {
        let text = fs::read_to_string(target.log_file(&self.plan)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Whether a daemon says that it is ready, or a pod serves.
    pub fn is_ready(&self, target: &Target) -> Result<bool> {
        daemon::is_ready(&self.plan, target)
    }

    fn build(&mut self) -> Result<()> {
        let plan = &self.plan;
        let state = serde_json::to_string_pretty(plan).context("writing down the lab")?;
        slices::write_atomically(&plan.run_dir().join("state.json"), &state)?;
        for folder in [plan.run_dir().join("logs"), plan.bpffs()] {
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let none: Option<&str> = None;
        mount(
            Some("bpf"),
            &plan.bpffs(),
            Some("bpf"),
            MsFlags::empty(),
            none,
        )
        .context("mounting the lab's BPF file system")?;
        network::build(plan)?;
        self.make_groups()?;
        for cluster in &plan.topology.clusters {
            process::write_resolv_conf(plan, &cluster.name)?;
            match plan.mode {
                Mode::Manifests => {}
                Mode::Kubernetes => self.start(&Target::api_server(&cluster.name))?,
            }
            slices::install_manifests(plan, &cluster.name)?;
        }
        if plan.programs.is_some() {
            daemon::issue_credentials(plan)?;
        }
        let is_started = |target: &Target| matches!(target, Target::ApiServer { .. });
        for target in Target::all(plan).into_iter().filter(|t| !is_started(t)) {
            self.start(&target)
                .with_context(|| format!("starting {target}"))?;
        }
        if let Some(owner) = &mut self.owner {
            owner.controller = Some(Controller::start(self.plan.clone()));
        }
        Ok(())
    }

    fn make_groups(&self) -> Result<()> {
        for node in &self.plan.nodes {
            cgroup::create(&node.cgroup)?;
        }
        for pod in &self.plan.pods {
            cgroup::create(&pod.cgroup.join(MAIN_GROUP))?;
            cgroup::create(&pod.cgroup.join(EXEC_GROUP))?;
        }
        Ok(())
    }

    fn wait_ready(&self, within: Duration) -> Result<()> {
        for target in Target::all(&self.plan) {
            let group = target.cgroup(&self.plan)?;
            let ended = wait_for(within, &format!("{target} is ready"), || {
                if self.is_ready(&target).unwrap_or(false) {
                    return Ok(Some(false));
                }
                // A program that is gone will not become ready.
                Ok((!cgroup::is_populated(&group)).then_some(true))
            });
            match ended {
                Ok(false) => {}
                Ok(true) => bail!(
                    "{target} ended at once; it said:\n{}",
                    self.log_tail(&target)
                ),
                Err(error) => bail!("{error:#}; it said:\n{}", self.log_tail(&target)),
            }
        }
        Ok(())
    }

    fn in_pod(&self, pod: &str) -> Result<Launch> {
        let pod = self.plan.pod(pod)?;
        Ok(Launch::in_pod(&self.plan, pod, EXEC_GROUP))
    }

    /// A failed test is explained by what the daemons said; the files are about to go.
    fn tell_logs(&self) {
        let mut stderr = io::stderr().lock();
        for target in Target::all(&self.plan) {
            let tail = self.log_tail(&target);
            if !tail.is_empty() && writeln!(stderr, "--- {target} said:\n{tail}").is_err() {
                return;
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Some(owner) = self.owner.take() else {
            return;
        };
        if thread::panicking() {
            self.tell_logs();
        }
        if let Err(error) = owner.end() {
            // There is nobody to hand the error to.
            drop(writeln!(io::stderr(), "lab {}: {error:#}", self.name()));
        }
    }
}

impl Owner {
    fn end(mut self) -> Result<()> {
        drop(self.controller.take());
        self.watcher.take().map_or(Ok(()), Watcher::sweep)
    }
}

fn spawn(launch: Launch) -> Result<process::Process> {
    let child = launch.spawn(Stdio::piped(), Stdio::piped(), Stdio::piped())?;
    Ok(process::Process::new(child))
}
