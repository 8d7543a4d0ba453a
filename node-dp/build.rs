//! Builds the kernel programs, which the agent carries in itself.

use std::{env, fs, path::Path};

use node_dp_bpf_build::{OVERRIDES, build, sources};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = env::var("CARGO_MANIFEST_DIR")?;
    let out = env::var("OUT_DIR")?;
    let workspace = Path::new(&manifest).join("..");

    for source in sources() {
        let path = workspace.join(source);
        println!("cargo::rerun-if-changed={}", path.display());
    }
    for variable in OVERRIDES {
        println!("cargo::rerun-if-env-changed={variable}");
    }

    let object = build(&workspace, &Path::new(&out).join("bpf"))?;
    for other in ["clamp", "load"] {
        let copy = Path::new(&out).join(format!("{other}.o"));
        fs::copy(object.with_file_name(other), copy)?;
    }
    fs::copy(object, Path::new(&out).join("programs.o"))?;
    Ok(())
}
