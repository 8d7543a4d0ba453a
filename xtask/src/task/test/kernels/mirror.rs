//! Finds kernels on the Debian mirror that this machine uses and fetches their packages, with apt's own checks.
//!
//! apt works in a state folder of its own, so that the machine's sources, lists and packages stay as they are.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::Source;
use crate::task::command::{command, output, run};

/// The keys that Debian's archives are signed with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The package that stands for the newest kernel of a suite, in its variant for virtual machines.
const META: &str = "linux-image-cloud-amd64";

const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-cloud-amd64";

/// Why a kernel is not to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    /// The mirror was not reached, or did not have what was asked.
    #[error("the mirror does not give {what}")]
    Mirror {
        what: String,
        #[source]
        source: anyhow::Error,
    },
    /// The suite has no such kernel.
    #[error("{0} has no such kernel")]
    NoSuchKernel(&'static str),
    /// A file could not be written.
    #[error("{} cannot be written", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The archives of a Debian mirror.
#[derive(Debug)]
pub(super) struct Mirror {
    main: String,
    security: String,
}

/// The packages of one kernel.
#[derive(Debug)]
pub(super) struct Packages {
    /// What `uname -r` says when it runs.
    pub(super) release: String,
    suite: &'static str,
    names: Vec<String>,
}

impl Mirror {
    /// The mirror in this machine's own sources.
    pub(super) fn of_this_machine() -> anyhow::Result<Self> {
        let sources = output(command("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
        ]))
        .context("this machine has no apt")?;
        Self::among(&sources).context("this machine's sources name no Debian mirror")
    }

    fn among(sources: &str) -> Option<Self> {
        let sources = || sources.lines().map(|line| line.trim_end_matches('/'));
        let main = sources().find(|source| source.ends_with("/debian"))?;
        let security = sources().find(|source| source.ends_with("/debian-security"));
        Some(Self {
            main: main.to_owned(),
            security: security.map_or_else(|| format!("{main}-security"), str::to_owned),
        })
    }

    /// Which packages make up a kernel.
    pub(super) fn resolve(&self, folder: &Path, source: Source) -> Result<Packages, Unavailable> {
        let (archive, suite) = match source {
            Source::Security(suite) => (&self.security, suite),
            Source::Main(suite) | Source::Series(suite, _) => (&self.main, suite),
        };
        let apt = Apt::at(folder, suite);
        apt.write_sources(archive, suite)?;
        let asked = |source| Unavailable::Mirror {
            what: format!("the packages of {suite}"),
            source,
        };
        run(apt.get().args(["update", "-qq"])).map_err(asked)?;
        let text = match source {
            Source::Security(_) | Source::Main(_) => {
                apt.cache(&["show", "--no-all-versions", META])
            }
            Source::Series(_, series) => apt.cache(&["pkgnames", &format!("{PREFIX}{series}")]),
        }
        .map_err(asked)?;
        let image = match source {
            Source::Security(_) | Source::Main(_) => image_of(&text),
            Source::Series(..) => newest_of(&text),
        };
        let image = image.ok_or(Unavailable::NoSuchKernel(suite))?;
        let release = image.trim_start_matches(PREFIX).to_owned();
        let names = apt.closure(image, &release).map_err(asked)?;
        Ok(Packages {
            release,
            suite,
            names,
        })
    }

    /// Fetches the packages into a folder.
    pub(super) fn download(
        &self,
        folder: &Path,
        packages: &Packages,
        into: &Path,
    ) -> Result<(), Unavailable> {
        let mut get = Apt::at(folder, packages.suite).get();
        get.current_dir(into).args(["download", "-qq"]);
        run(get.args(&packages.names)).map_err(|source| Unavailable::Mirror {
            what: packages.names.join(" "),
            source,
        })
    }
}

/// apt with a state of its own for one suite.
struct Apt {
    state: PathBuf,
}

impl Apt {
    fn at(folder: &Path, suite: &str) -> Self {
        let state = folder.join(format!("apt-{suite}"));
        Self { state }
    }

    fn write_sources(&self, archive: &str, suite: &str) -> Result<(), Unavailable> {
        let write = |path: PathBuf, text: &str| {
            fs::write(&path, text).map_err(|source| Unavailable::File { path, source })
        };
        for name in ["lists/partial", "cache/archives/partial"] {
            let path = self.state.join(name);
            let made = fs::create_dir_all(&path);
            made.map_err(|source| Unavailable::File { path, source })?;
        }
        let line = format!("deb [arch=amd64 signed-by={KEYRING}] {archive} {suite} main\n");
        write(self.state.join("sources.list"), &line)?;
        // As if nothing were installed, so that what is on this machine decides nothing.
        write(self.state.join("status"), "")
    }

    fn get(&self) -> Command {
        self.with_state("apt-get")
    }

    fn cache(&self, arguments: &[&str]) -> anyhow::Result<String> {
        output(self.with_state("apt-cache").args(arguments))
    }

    fn with_state(&self, program: &str) -> Command {
        let mut apt = command(program);
        for (option, value) in [
            ("Dir::State", ""),
            ("Dir::State::status", "status"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "none"),
        ] {
            let path = self.state.join(value);
            apt.arg("-o").arg(format!("{option}={}", path.display()));
        }
        // The user that apt otherwise becomes cannot write here; and half an index is no index.
        apt.args(["-o", "APT::Sandbox::User="]);
        apt.args(["-o", "APT::Update::Error-Mode=any"]);
        apt
    }

    /// The packages that an image needs of those that carry its release in their names.
    fn closure(&self, image: &str, release: &str) -> anyhow::Result<Vec<String>> {
        let tree = self.cache(&["depends", "--recurse", "--important", image])?;
        let mut names: Vec<String> = tree
            .lines()
            .filter(|line| !line.starts_with([' ', '<']) && line.ends_with(release))
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// The image in the first `Depends` of what `apt-cache show` prints.
fn image_of(shown: &str) -> Option<&str> {
    let line = shown
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))?;
    let mut names = line
        .split(", ")
        .filter_map(|part| part.split_whitespace().next());
    names.find(|name| name.starts_with(PREFIX))
}

/// The highest version among the images for virtual machines.
fn newest_of(names: &str) -> Option<&str> {
    let images = names.lines().filter(|name| name.ends_with(SUFFIX));
    images.max_by_key(|name| {
        let numbers = name.split(|c: char| !c.is_ascii_digit());
        let numbers = numbers.filter_map(|digits| digits.parse::<u32>().ok());
        numbers.collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_in_the_sources() {
        let sources = "http://other.example/ubuntu/\nhttp://near.example/debian/\n";

        let mirror = Mirror::among(sources).unwrap();

        assert_eq!(mirror.main, "http://near.example/debian");
        assert_eq!(mirror.security, "http://near.example/debian-security");
        let other = format!("{sources}http://far.example/debian-security/");
        let mirror = Mirror::among(&other).unwrap();
        assert_eq!(mirror.security, "http://far.example/debian-security");
        assert!(Mirror::among("http://other.example/ubuntu/").is_none());
    }

    #[test]
    fn a_meta_package_leads_to_its_image() {
        let shown = "Package: linux-image-cloud-amd64\nDepends: linux-base-cloud-amd64 (= 7.3), \
                     linux-image-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), linux-modules-cloud-amd64\n";

        let image = image_of(shown);

        assert_eq!(image, Some("linux-image-7.3.4+deb13-cloud-amd64"));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let names = "linux-image-6.18.9+deb13-cloud-amd64\nlinux-image-6.18.12+deb13-cloud-amd64\n\
                     linux-image-6.18.15+deb13-amd64\nlinux-image-6.18.16+deb13-cloud-amd64-dbg\n";

        assert_eq!(
            newest_of(names),
            Some("linux-image-6.18.12+deb13-cloud-amd64")
        );
        assert_eq!(newest_of(""), None);
    }
}
