//! Commands, and threads inside a network namespace.

use std::{fs::File, process::Command, thread};

use nix::sched::{CloneFlags, setns};

/// Starts a thread inside a namespace.
pub(super) fn spawn_in<R: Send + 'static>(
    netns: &str,
    job: impl FnOnce() -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let path = format!("/run/netns/{netns}");
    thread::spawn(move || {
        setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        job()
    })
}

pub(super) fn run(program: &str, args: &[&str]) -> String {
    try_run(program, args).unwrap()
}

pub(super) fn try_run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} {args:?}: {error}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
