//! What kube-proxy would have the kernel do for the service.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

use super::{BACKENDS, NODE, backends};
use crate::node::NODE_PORT;

/// Rules such as kube-proxy's for one service that everybody may reach.
pub(super) fn iptables() -> String {
    let mut rules = "*nat\n:SVC - [0:0]\n".to_owned();
    rules.push_str(&format!(
        "-A PREROUTING -d {NODE}/32 -p tcp -m tcp --dport {NODE_PORT} -j SVC\n-A POSTROUTING -o out0 -j MASQUERADE\n"
    ));
    for (left, (address, port)) in (1..=u32::from(BACKENDS)).rev().zip(backends()) {
        let share = match left {
            1 => String::new(),
            left => format!(
                "-m statistic --mode random --probability {:.10} ",
                1.0 / f64::from(left)
            ),
        };
        rules.push_str(&format!(
            "-A SVC -p tcp {share}-j DNAT --to-destination {address}:{port}\n"
        ));
    }
    rules.push_str("COMMIT\n");
    rules
}

pub(super) fn nftables() -> String {
    let chosen: Vec<String> = (0..)
        .zip(backends())
        .map(|(number, (address, port))| format!("{number} : {address} . {port}"))
        .collect();
    format!(
        "table ip bench {{\n\
         chain pre {{ type nat hook prerouting priority -100; ip daddr {NODE} tcp dport {NODE_PORT} \
         dnat ip to numgen random mod {BACKENDS} map {{ {} }}; }}\n\
         chain post {{ type nat hook postrouting priority 100; oifname out0 masquerade; }}\n}}\n",
        chosen.join(", ")
    )
}

/// Runs a program that reads rules.
pub(super) fn feed(argv: &[&str], rules: &str) -> anyhow::Result<()> {
    let (program, arguments) = argv.split_first().context("no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let mut input = child.stdin.take().context("no input")?;
    input.write_all(rules.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", said.trim());
    // The first packet of a flow is in the middle of its connection, and none is ever answered.
    std::fs::write("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", "1")?;
    Ok(())
}
