//! Starts programs in pods and on nodes: in their network, their control group, and with their cluster's DNS.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    cgroup, netns,
    plan::{NodePlan, Plan, PodPlan},
    wait::wait_until,
};

/// Debian's own programs; a version manager's shims in the caller's path don't belong in a pod.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Joins a control group before the program begins, so its first connection is already the pod's.
const JOIN_AND_RUN: &str = "echo $$ >\"$0\" && exec \"$@\"";

/// The shell's first command; only a very busy machine takes long for it.
const JOINED_WITHIN: Duration = Duration::from_secs(10);

/// Where commands given by hand run, beside a pod's own program.
pub(crate) const EXEC_GROUP: &str = "exec";

/// Where a pod's own program runs.
pub(crate) const MAIN_GROUP: &str = "main";

/// A program that is about to start somewhere in the lab.
#[derive(Debug)]
pub(crate) struct Launch {
    netns: Option<String>,
    cgroup: PathBuf,
    resolv_conf: Option<PathBuf>,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
    argv: Vec<OsString>,
}

impl Launch {
    /// In a pod, in one of its groups.
    pub(crate) fn in_pod(plan: &Plan, pod: &PodPlan, group: &str) -> Self {
        Self {
            netns: Some(pod.netns.clone()),
            cgroup: pod.cgroup.join(group),
            resolv_conf: Some(resolv_conf(plan, &pod.cluster)),
            folder: plan.folder.clone(),
            environment: vec![
                ("ISTHMUS_CLUSTER", pod.cluster.clone()),
                ("ISTHMUS_NODE", pod.node.clone()),
                ("ISTHMUS_POD", pod.pod.name.clone()),
                ("ISTHMUS_NAMESPACE", pod.pod.namespace.clone()),
            ],
            argv: Vec::new(),
        }
    }

    /// On a node, in a group of its own below the node's.
    pub(crate) fn on_node(plan: &Plan, node: &NodePlan, group: &str) -> Self {
        Self {
            netns: Some(node.netns.clone()),
            cgroup: node.cgroup.join(group),
            resolv_conf: Some(resolv_conf(plan, &node.cluster)),
            folder: plan.folder.clone(),
            environment: Vec::new(),
            argv: Vec::new(),
        }
    }

    /// In the network between the nodes.
    pub(crate) fn between_nodes(plan: &Plan) -> Self {
        Self {
            netns: Some(plan.net()),
            cgroup: plan.cgroup.join("@net"),
            resolv_conf: None,
            folder: plan.folder.clone(),
            environment: Vec::new(),
            argv: Vec::new(),
        }
    }

    /// In the machine's own network, but in the lab's control group, so that it ends with the lab.
    pub(crate) fn beside(plan: &Plan, group: &str) -> Self {
        Self {
            netns: None,
            cgroup: plan.cgroup.join(group),
            resolv_conf: None,
            folder: plan.folder.clone(),
            environment: Vec::new(),
            argv: Vec::new(),
        }
    }

    /// The program and its arguments.
    pub(crate) fn argv(mut self, argv: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.argv = argv.into_iter().map(|a| a.as_ref().to_owned()).collect();
        self
    }

    /// One more variable of its environment.
    pub(crate) fn variable(mut self, name: &'static str, value: String) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Runs it to its end.
    pub(crate) fn output(self) -> Result<Output> {
        let child = self.spawn(Stdio::null(), Stdio::piped(), Stdio::piped())?;
        child.wait_with_output().context("waiting for a command")
    }

    /// Starts it and hands it over.
    pub(crate) fn spawn(self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<Child> {
        netns::in_thread(|| {
            let mut command = self.prepare()?;
            command.stdin(stdin).stdout(stdout).stderr(stderr);
            let program = self.program();
            command
                .spawn()
                .with_context(|| format!("starting {program}"))
        })
    }

    /// Starts it in the background, with what it says in a file.
    pub(crate) fn spawn_logged(self, log: &Path) -> Result<()> {
        let open = || {
            let mut options = OpenOptions::new();
            options.create(true).append(true).open(log)
        };
        let out = open().with_context(|| format!("opening {}", log.display()))?;
        let err = open().with_context(|| format!("opening {}", log.display()))?;
        let mut child = netns::in_thread(|| {
            let mut command = self.prepare()?;
            command.stdin(Stdio::null()).stdout(out).stderr(err);
            // Ctrl-c in a terminal is for the lab's owner.
            command.process_group(0);
            let program = self.program();
            command
                .spawn()
                .with_context(|| format!("starting {program}"))
        })?;
        // Until it has joined its group, it would seem dead.
        let group = &self.cgroup;
        wait_until(JOINED_WITHIN, "a program joins its group", || {
            let has_ended = child
                .try_wait()
                .context("looking after a program")?
                .is_some();
            Ok(has_ended || cgroup::is_populated(group))
        })?;
        // Somebody has to take note of its end, or it stays in the process table.
        thread::spawn(move || child.wait());
        Ok(())
    }

    /// Becomes it: the calling process turns into the program, with its terminal.
    pub(crate) fn replace_caller(self) -> Result<Infallible> {
        let mut command = self.prepare()?;
        if let Some(term) = std::env::var_os("TERM") {
            command.env("TERM", term);
        }
        let error = command.exec();
        Err(error).with_context(|| format!("starting {}", self.program()))
    }

    /// Moves the calling thread where the program belongs and describes the program.
    fn prepare(&self) -> Result<Command> {
        cgroup::create(&self.cgroup)?;
        if let Some(netns) = &self.netns {
            netns::enter(netns)?;
        }
        if let Some(file) = &self.resolv_conf {
            netns::replace_resolv_conf(file)?;
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", JOIN_AND_RUN]);
        command.arg(self.cgroup.join("cgroup.procs"));
        command.args(&self.argv).current_dir(&self.folder);
        command.env_clear().env("PATH", PATH).env("HOME", "/root");
        command.env("LANG", "C.UTF-8");
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        Ok(command)
    }

    fn program(&self) -> String {
        let program = self.argv.first().map(|p| p.to_string_lossy().into_owned());
        program.unwrap_or_default()
    }
}

/// A program that a test started; it is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Option<Child>,
}

impl Process {
    pub(crate) fn new(child: Child) -> Self {
        Self { child: Some(child) }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The process's number.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its standard input, to write to; nothing the second time.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.as_mut()?.stdin.take()
    }

    /// Its standard output, to read along; nothing the second time.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.as_mut()?.stdout.take()
    }

    /// Its standard error, to read along; nothing the second time.
    pub fn take_stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.as_mut()?.stderr.take()
    }

    /// Kills it; what it has said can still be read.
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself; then there is nothing to do.
            if child.kill().is_ok() {
                drop(child.wait());
            }
        }
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Result<Output> {
        let child = self.child.take().context("the process was handed over")?;
        child.wait_with_output().context("waiting for a process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The resolver's configuration of a cluster's pods and nodes.
pub(crate) fn resolv_conf(plan: &Plan, cluster: &str) -> PathBuf {
    plan.run_dir().join(format!("resolv-{cluster}.conf"))
}

/// Writes it: the cluster's first gateway is the DNS server.
pub(crate) fn write_resolv_conf(plan: &Plan, cluster: &str) -> Result<()> {
    let gateway = plan.gateway_node(cluster)?;
    let text = format!(
        "nameserver {}\nnameserver {}\noptions timeout:1 attempts:3\n",
        gateway.ipv4, gateway.ipv6
    );
    let file = resolv_conf(plan, cluster);
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}
