//! Takes the name of a lab, so that no two builders share one.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{cgroup, plan, sweep::sweep, wait::wait_until};

/// A dead owner's watcher needs well under a second.
const SWEPT_WITHIN: Duration = Duration::from_secs(10);

/// Takes a lab's name, after removing what a dead owner left of it.
pub(crate) fn claim(name: &str) -> Result<File> {
    let folder = plan::run_dir(name);
    if folder.exists() {
        ensure!(
            !kept_marker(name).exists() && !has_owner(&folder),
            "there is a lab {name} already: `isthmus lab down {name}` removes it, --lab gives another name"
        );
        // Its watcher may be at work; else nobody is.
        let swept = wait_until(SWEPT_WITHIN, "the watcher removes it", || {
            Ok(!folder.exists())
        });
        swept.or_else(|_late| sweep(name))?;
    }
    claim_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let lock = File::create(folder.join("owner")).context("marking the lab as owned")?;
    lock.lock().context("marking the lab as owned")?;
    Ok(lock)
}

/// Makes a lab's folder; of two that try, one fails.
fn claim_dir(folder: &Path) -> io::Result<()> {
    loop {
        cgroup::create_dir_all(Path::new(plan::RUN_DIR))?;
        match fs::create_dir(folder) {
            // The last lab's end took the empty folder away in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
    }
}

fn has_owner(folder: &Path) -> bool {
    File::open(folder.join("owner")).is_ok_and(|file| file.try_lock().is_err())
}

/// The file that says that a lab lives on without an owner.
pub(crate) fn kept_marker(lab: &str) -> PathBuf {
    plan::run_dir(lab).join("kept")
}
