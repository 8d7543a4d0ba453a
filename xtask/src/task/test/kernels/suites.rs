//! What runs on each kernel: test programs of the agent, with the tests that need a kernel of their own.

use std::{fmt::Write as _, path::PathBuf, process::Stdio};

use anyhow::Context;
use serde::Deserialize;

use crate::task::{
    command::{cargo, describe, say},
    setup,
    test::ALL_BUT_LAB,
};

/// Seconds that a suite may take in an emulated guest on a busy machine.
const SECONDS: u32 = 900;

/// A column of the matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suite {
    /// What the column is called.
    pub(super) name: &'static str,
    /// The program, with the environment before it.
    program: &'static str,
    /// Which of its tests run.
    all: &'static str,
    /// Those that run where there is little time.
    sample: &'static [&'static str],
}

/// Loading and attaching of every program, the kernel's WireGuard, and the embedded one with the kernel's at its other end.
///
/// Left out are what single packets become, which is the programs' own arithmetic; how much memory maps take, which kernels
/// before 6.3 only estimate; and agents that come and go without end, which takes minutes in a guest. Nearly all the time of a
/// test of programs is that of the emulated kernel's verifier, so the sample loads each of them as seldom as it can.
const SUITES: [Suite; 3] = [
    Suite {
        name: "programs",
        program: "/suites/datapath --ignored --test-threads=1",
        all: "--skip packets:: --skip empty_maps_take_little_memory \
              --skip no_connection_fails_while_agents_come_and_go",
        sample: &[
            "devices::a_node_port_leads_to_a_backend_elsewhere_which_sees_the_node",
            "devices::a_restarted_agent_keeps_flows_and_leaves_devices_that_it_no_longer_serves",
            "life::an_adopted_link_stays_and_runs_the_new_program",
            "stale::a_connection_to_a_gone_backend_ends_at_once_and_others_go_on",
            "tcp::an_ipv6_frontend_leads_to_its_backend_and_looks_like_the_peer",
            "udp::an_unconnected_socket_hears_the_frontend",
        ],
    },
    Suite {
        name: "kernel-wireguard",
        program: "ISTHMUS_TEST_WIREGUARD=kernel /suites/node_dp --ignored --test-threads=2",
        all: "tunnel",
        sample: &[
            "tunnel::tests::a_device_deleted_or_taken_down_under_the_tunnel_is_noticed_and_opened_anew",
            "tunnel::tests::clamp::the_clamp_follows_the_tunnels_mtu",
            "tunnel::tests::inside::what_pods_send_takes_the_tunnel_before_the_plugins_routes",
            "tunnel::tests::interop::traffic_passes_with_boringtun_that_is_spoken_to",
            "tunnel::tests::packets_to_remote_pods_are_refused_while_the_device_is_away",
            "tunnel::tests::ping_udp_and_tcp_pass_in_both_families_and_only_wireguard_is_on_the_wire",
            "tunnel::tests::rotation::requests_in_both_directions_go_on_while_a_node_takes_another_key",
            "tunnel::tests::traffic_passes_over_an_ipv6_underlay_and_follows_its_mtu",
        ],
    },
    Suite {
        name: "userspace-to-kernel",
        program: "ISTHMUS_TEST_WIREGUARD=mixed /suites/node_dp --ignored --test-threads=2",
        all: "tunnel",
        sample: &[
            "tunnel::tests::offload::streams_of_odd_writes_arrive_byte_by_byte_in_both_directions_at_once",
            "tunnel::tests::ping_udp_and_tcp_pass_in_both_families_and_only_wireguard_is_on_the_wire",
            "tunnel::tests::rotation::requests_in_both_directions_go_on_while_a_node_takes_another_key",
        ],
    },
];

/// The test programs that the suites run: the agent's own tests, and those of its programs in the kernel.
const PROGRAMS: [&str; 2] = ["node_dp", "datapath"];

/// The suites, and the programs that they are made of, by their paths in the guest.
#[derive(Debug)]
pub(super) struct Suites {
    pub(super) list: &'static [Suite],
    is_sample: bool,
    pub(super) programs: Vec<(String, PathBuf)>,
}

impl Suites {
    /// The part of the guest's script that runs them.
    pub(super) fn script(&self) -> String {
        let mut script = String::from("export CARGO_TARGET_DIR=/\n");
        for suite in self.list {
            let tests = if self.is_sample {
                format!("--exact {}", suite.sample.join(" "))
            } else {
                suite.all.to_owned()
            };
            let Suite { name, program, .. } = suite;
            // Writing to a string does not fail.
            writeln!(script, "suite {name} {SECONDS} {program} {tests}").ok();
        }
        script
    }

    /// How long a guest may take for all of them, in seconds.
    pub(super) fn seconds(&self) -> u64 {
        u64::from(SECONDS) * self.list.len() as u64
    }
}

/// Builds the test programs, for all of their tests or a sample.
pub(super) fn build(is_sample: bool) -> anyhow::Result<Suites> {
    let mut programs = vec![("tools/bin/boringtun-cli".to_owned(), setup::boringtun()?)];
    let mut build = cargo();
    // Just what is built for the tests of this machine: where those have run, nothing is left to do.
    build.args(["test", "--no-run"]).args(ALL_BUT_LAB);
    build.arg("--message-format=json-render-diagnostics");
    let line = describe(&build);
    say(&format!("$ {line}"));
    let built = build
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting `{line}`"))?;
    if !built.status.success() {
        anyhow::bail!("`{line}` ended with {}", built.status);
    }
    programs.extend(executables(&String::from_utf8_lossy(&built.stdout)));
    Ok(Suites {
        list: &SUITES,
        is_sample,
        programs,
    })
}

/// What cargo says of one artefact, as far as it matters here.
#[derive(Deserialize)]
struct Artefact {
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The test programs that cargo says it built, by where the guest has them.
fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    messages
        .lines()
        // Other messages have no target.
        .filter_map(|line| serde_json::from_str::<Artefact>(line).ok())
        // Programs that are no tests come along, for the tests that run them, and so do the tests of all else.
        .filter(|artefact| artefact.profile.test && PROGRAMS.contains(&&*artefact.target.name))
        .filter_map(|artefact| {
            let name = artefact.target.name;
            Some((format!("suites/{name}"), artefact.executable?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn each_test_of_the_sample_is_there() {
        let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node-dp");
        let file_of = |suite: &Suite, test: &str| {
            let (modules, name) = test.rsplit_once("::").unwrap();
            let folder = if suite.program.contains("datapath") {
                "tests/datapath"
            } else {
                "src"
            };
            let file = format!("{folder}/{}.rs", modules.replace("::", "/"));
            (agent.join(file), name.to_owned())
        };
        for suite in &SUITES {
            for test in suite.sample {
                let (file, name) = file_of(suite, test);
                let text = fs::read_to_string(&file).unwrap();
                assert!(text.contains(&format!("fn {name}()")), "{test}");
            }
        }
    }

    #[test]
    fn only_the_suites_test_programs_count_among_what_cargo_built() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"libc"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"name":"agent"},"profile":{"test":false},"executable":"/target/agent"}
{"reason":"compiler-artifact","target":{"name":"certs"},"profile":{"test":true},"executable":"/target/certs-1"}
{"reason":"compiler-artifact","target":{"name":"datapath"},"profile":{"test":true},"executable":"/target/datapath-1"}
{"reason":"build-finished","success":true}"#;

        let found = executables(messages);

        assert_eq!(
            found,
            [(
                "suites/datapath".to_owned(),
                PathBuf::from("/target/datapath-1")
            )]
        );
    }
}
