//! Builds the kernel programs, which the agent carries in itself.

use std::{env, fs, path::Path};

use node_dp_bpf_build::{OVERRIDES, build, sources};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = env::var("CARGO_MANIFEST_DIR")?;
    let out = env::var("OUT_DIR")?;
    let workspace = Path::new(&manifest).join("..");

    for source in sources() {
        say(&format!("rerun-if-changed={}", workspace.join(source).display()));
    }
    for variable in OVERRIDES {
        say(&format!("rerun-if-env-changed={variable}"));
    }

    let object = build(&workspace, &Path::new(&out).join("bpf"))?;
    fs::copy(object, Path::new(&out).join("programs.o"))?;
    Ok(())
}

/// Tells cargo something.
#[expect(clippy::print_stdout, reason = "it is how build scripts speak")]
fn say(instruction: &str) {
    println!("cargo::{instruction}");
}
