//! Lints and renders the chart with the real Helm engine, which a Python package bundles.

use crate::task::command::{command, root, run, target_dir};

/// Fails when the chart does not lint or render, or when a value set that must be refused is taken.
pub(crate) fn check() -> anyhow::Result<()> {
    let venv = target_dir().join("helm-venv");
    let python = venv.join("bin/python");
    let requirements = root().join("helm/requirements.txt");
    if !python.exists() {
        // Debian's own, since another python on the path may lack the venv module.
        run(command("/usr/bin/python3").args(["-m", "venv"]).arg(&venv))?;
    }
    run(command(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(requirements))?;
    run(command(&python).arg(root().join("helm/check.py")))
}
