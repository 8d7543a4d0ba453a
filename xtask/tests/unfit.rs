//! Tasks that a machine cannot run are refused in one sentence, with exit code 2, before anything is done.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Output},
};

use multicluster::preflight;
use tempfile::TempDir;

/// A user and group that owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn another_user_than_root_is_told_to_be_root() {
    // Where the build lies, another user may not be let in.
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("xtask");
    fs::copy(env!("CARGO_BIN_EXE_xtask"), &program).unwrap();

    for (task, said) in [
        (["demo"].as_slice(), "run it again as root"),
        (&["test"], "--unprivileged"),
        (&["bench"], "run it again as root"),
    ] {
        let mut command = Command::new(&program);
        command.args(task).current_dir("/");
        if preflight::is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        expect_refusal(&command.output().unwrap(), said);
    }
}

#[test]
#[ignore = "needs root"]
fn a_machine_without_cgroup_v2_or_btf_is_told_so() {
    for task in ["demo", "test"] {
        for (hidden, said) in [
            ("/sys/fs/cgroup", "no cgroup v2"),
            ("/sys/kernel/btf", "no BTF"),
        ] {
            let script = format!("mount -t tmpfs none {hidden} && exec \"$0\" {task}");
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &script]);
            command.arg(env!("CARGO_BIN_EXE_xtask"));

            expect_refusal(&command.output().unwrap(), said);
        }
    }
}

fn expect_refusal(output: &Output, said: &str) {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(said), "{stderr}");
}
