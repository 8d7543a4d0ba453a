//! `cargo xtask`: set-up, demo, test, check and bench, as the README and CI call them.

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod task;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    task::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::Write;

    let sentence =
        "error: this is not Linux: the datapath is eBPF, so run this on a Linux machine\n";
    // Nobody is left to tell when standard error is gone.
    std::io::stderr().write_all(sentence.as_bytes()).ok();
    ExitCode::from(2)
}
