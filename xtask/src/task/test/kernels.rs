//! The kernel matrix: boots other kernels in QEMU and runs there what depends on the kernel.
//!
//! Nothing of this needs KVM or root, beyond installing what is missing: the guests are emulated. They are for finding out
//! whether something works, and say nothing of how fast.

mod guest;
mod image;
mod mirror;
mod outcome;
mod suites;

use std::{fs, io::Write, path::Path, sync::Mutex, thread, time::Instant};

use anyhow::{Context, bail};

use crate::task::{
    command::{say, target_dir},
    setup,
};
use image::{Kernel, SharedImage};
use mirror::{Mirror, Unavailable};
use outcome::{Row, Verdict};

/// One of the kernels that are booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    /// What it is called here and on the command line.
    name: &'static str,
    source: Source,
}

/// Where its packages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// What the suite's meta package stands for, in the archive of security updates.
    Security(&'static str),
    /// The same in the main archive.
    Main(&'static str),
    /// The newest of a series in the main archive, beside what the meta package stands for.
    Series(&'static str, &'static str),
}

/// Oldest first: the first is the oldest that is supported.
const KERNELS: [Wanted; 5] = [
    Wanted {
        name: "5.10",
        source: Source::Security("bullseye-security"),
    },
    Wanted {
        name: "6.1",
        source: Source::Security("bookworm-security"),
    },
    Wanted {
        name: "6.12",
        source: Source::Security("trixie-security"),
    },
    Wanted {
        name: "6.18",
        source: Source::Series("trixie-backports", "6.18."),
    },
    Wanted {
        name: "newest",
        source: Source::Main("trixie-backports"),
    },
];

/// The names that `--kernel-matrix` takes, and what it means alone.
pub(super) const ALL: &str = "5.10,6.1,6.12,6.18,newest";

/// The task; `names` are of kernels, with commas between. With a sample, the tests that take minutes less.
pub(super) fn run(names: &str, is_sample: bool) -> anyhow::Result<()> {
    let wanted = parse(names)?;
    let mirror = match prepare() {
        Ok(mirror) => mirror,
        Err(error) => {
            say(&format!("kernel matrix: SKIPPED, {error:#}"));
            return Ok(());
        }
    };
    let folder = target_dir().join("kernel-matrix");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let start = Instant::now();
    let (built, (mut rows, kernels)) = thread::scope(|scope| {
        // The mirror and the compiler wait for different things.
        let fetching = scope.spawn(|| fetch_all(&mirror, &folder, wanted));
        let built = suites::build(is_sample).and_then(|suites| {
            let shared = SharedImage::build(&folder, &suites)?;
            Ok((suites, shared))
        });
        let fetched = fetching.join().expect("fetching does not panic");
        (built, fetched)
    });
    let (suites, shared) = built?;
    say(&format!(
        "kernel matrix: ready to boot after {:.0?}",
        start.elapsed()
    ));
    rows.extend(boot_all(&shared, &kernels, &suites));
    // As they were asked for, whichever was done first.
    rows.sort_by_key(|row| KERNELS.iter().position(|kernel| kernel.name == row.name));
    let columns: Vec<&str> = suites.list.iter().map(|suite| suite.name).collect();
    write!(
        std::io::stdout().lock(),
        "{}",
        outcome::table(&columns, &rows)
    )?;
    conclude(&rows)
}

fn parse(names: &str) -> anyhow::Result<Vec<Wanted>> {
    names
        .split(',')
        .map(|name| {
            let known = KERNELS.into_iter().find(|kernel| kernel.name == name);
            known.with_context(|| format!("there is no kernel '{name}': choose from {ALL}"))
        })
        .collect()
}

/// What must be there before anything can be booted.
fn prepare() -> anyhow::Result<Mirror> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the kernels that are booted are for x86-64, and this is another machine");
    }
    setup::guests()?;
    Mirror::of_this_machine()
}

/// The kernels that are to be had, and rows for those that are not.
fn fetch_all(
    mirror: &Mirror,
    folder: &Path,
    wanted: Vec<Wanted>,
) -> (Vec<Row>, Vec<(Wanted, Kernel)>) {
    let (mut rows, mut kernels) = (Vec::new(), Vec::new());
    for wanted in wanted {
        match fetch(mirror, folder, wanted) {
            Ok(kernel) => kernels.push((wanted, kernel)),
            Err(unavailable) => rows.push(Row {
                name: wanted.name,
                release: String::new(),
                verdict: Verdict::Skipped(format!("{:#}", anyhow::Error::new(unavailable))),
            }),
        }
    }
    (rows, kernels)
}

fn fetch(mirror: &Mirror, folder: &Path, wanted: Wanted) -> Result<Kernel, Unavailable> {
    let packages = mirror.resolve(folder, wanted.source)?;
    say(&format!(
        "kernel matrix: {} is {}",
        wanted.name, packages.release
    ));
    image::unpack(mirror, folder, &packages)
}

/// Boots them, as many at once as there are processors: each guest keeps one busy.
fn boot_all(
    shared: &SharedImage,
    kernels: &[(Wanted, Kernel)],
    suites: &suites::Suites,
) -> Vec<Row> {
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(kernels.iter());
    let next = || queue.lock().expect("taking the next does not panic").next();
    let work = || {
        let mut rows = Vec::new();
        while let Some((wanted, kernel)) = next() {
            rows.push(boot(shared, (wanted.name, kernel), suites));
        }
        rows
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let rows = workers.into_iter().map(|worker| {
            let rows = worker.join();
            rows.expect("booting does not panic")
        });
        rows.flatten().collect()
    })
}

fn boot(
    shared: &SharedImage,
    (name, kernel): (&'static str, &Kernel),
    suites: &suites::Suites,
) -> Row {
    let start = Instant::now();
    let result = guest::boot(shared, kernel, suites);
    say(&format!(
        "kernel matrix: {name} took {:.0?}",
        start.elapsed()
    ));
    Row {
        name,
        release: kernel.release.clone(),
        verdict: result.map_or_else(|error| Verdict::Broken(format!("{error:#}")), Verdict::Ran),
    }
}

fn conclude(rows: &[Row]) -> anyhow::Result<()> {
    let failed: Vec<&str> = rows
        .iter()
        .filter(|row| !row.is_fine())
        .map(|row| row.name)
        .collect();
    if !failed.is_empty() {
        bail!("not everything passed on {}", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_has_a_name_and_no_other_name_is_taken() {
        let names: Vec<&str> = parse(ALL)
            .unwrap()
            .iter()
            .map(|kernel| kernel.name)
            .collect();

        assert_eq!(names, KERNELS.map(|kernel| kernel.name));
        assert_eq!(parse("newest,5.10").unwrap()[1], KERNELS[0]);
        assert!(parse("2.6").is_err());
        assert!(parse("").is_err());
    }
}
