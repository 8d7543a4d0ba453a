//! A lab that a machine cannot run is refused in one sentence, with exit code 2, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Output},
};

use multicluster::preflight;
use tempfile::TempDir;

const LAB: &str = "unfit";

/// A user and group that owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn another_user_than_root_is_told_to_be_root() {
    // Where the build lies, another user may not be let in.
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("isthmus");
    fs::copy(env!("CARGO_BIN_EXE_isthmus"), &program).unwrap();
    let topology = folder.path().join("topology.yaml");
    fs::write(&topology, TOPOLOGY).unwrap();
    let mut command = Command::new(program);
    command.args(["lab", "up", "--lab", LAB]).arg(topology);
    command.current_dir("/");
    if preflight::is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }

    expect_refusal(&command.output().unwrap(), "run it again as root");
}

#[test]
#[ignore = "needs root"]
fn a_machine_that_lacks_something_is_told_what() {
    let old = TempDir::new().unwrap();
    let release = old.path().join("release");
    fs::write(&release, "5.4.0-150-generic\n").unwrap();
    let release = format!(
        "mount --bind {} /proc/sys/kernel/osrelease",
        release.display()
    );
    for (hide, said) in [
        (release.as_str(), "kernel 5.4.0-150-generic is too old"),
        ("mount -t tmpfs none /sys/fs/cgroup", "no cgroup v2"),
        ("mount -t tmpfs none /sys/kernel/btf", "no BTF"),
        ("mount -t tmpfs none /dev/net", "no /dev/net/tun"),
    ] {
        let script = format!("{hide} && exec \"$0\" lab up --lab {LAB}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        command.arg(env!("CARGO_BIN_EXE_isthmus"));

        expect_refusal(&command.output().unwrap(), said);
    }
}

fn expect_refusal(output: &Output, said: &str) {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(said), "{stderr}");
    assert!(!multicluster::plan::run_dir(LAB).exists());
    let netns = fs::read_dir("/run/netns").into_iter().flatten();
    let left = netns.map(|entry| entry.unwrap().file_name());
    let prefix = multicluster::plan::netns_prefix(LAB);
    assert!(
        left.into_iter()
            .all(|name| !name.to_string_lossy().starts_with(&prefix))
    );
    let cgroups = fs::read_to_string("/proc/self/mounts").unwrap();
    for mount in cgroups.lines().filter_map(|line| line.split(' ').nth(1)) {
        let group = multicluster::plan::lab_cgroup(Path::new(mount), LAB);
        assert!(!group.exists(), "{}", group.display());
    }
}

const TOPOLOGY: &str =
    "name: any\nclusters: [{name: east, podCidrs: [10.1.0.0/16], nodes: [n1]}]\n";
