//! Runs iproute2, one process for many commands.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;

/// Runs commands, one a line, in a network namespace or (with `None`) outside all.
pub(crate) fn batch(netns: Option<&str>, commands: &[String]) -> Result<()> {
    run(ip(netns), netns, commands)
}

/// Runs `ip rule` commands, each with the prefix it is about: `ip rule` has to be told the family beforehand.
pub(crate) fn rules(netns: &str, rules: &[(IpNet, String)]) -> Result<()> {
    for (flag, is_v6) in [("-4", false), ("-6", true)] {
        let of_family = rules
            .iter()
            .filter(|(prefix, _)| prefix.addr().is_ipv6() == is_v6);
        let commands: Vec<_> = of_family.map(|(_, rule)| rule.clone()).collect();
        let mut command = ip(Some(netns));
        command.arg(flag);
        run(command, Some(netns), &commands)?;
    }
    Ok(())
}

fn run(mut command: Command, netns: Option<&str>, commands: &[String]) -> Result<()> {
    if commands.is_empty() {
        return Ok(());
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("running `ip`: install iproute2")?;
    if let Some(mut stdin) = child.stdin.take() {
        let text = commands.join("\n") + "\n";
        stdin
            .write_all(text.as_bytes())
            .context("giving `ip` its commands")?;
    }
    let output = child.wait_with_output().context("waiting for `ip`")?;
    check(&output).with_context(|| {
        let place = netns.unwrap_or("the machine's own namespace");
        let failed = failed_commands(&output, commands).join("; ");
        format!("running `ip` in {place}: {failed}")
    })
}

/// Runs one command in a network namespace and hands back what it printed.
pub(crate) fn query(netns: &str, arguments: &[&str]) -> Result<String> {
    let output = ip(Some(netns))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("running `ip`: install iproute2")?;
    check(&output).with_context(|| format!("running `ip {}` in {netns}", arguments.join(" ")))?;
    String::from_utf8(output.stdout).context("reading what `ip` printed")
}

fn ip(netns: Option<&str>) -> Command {
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        command.args(["-n", netns]);
    }
    command
}

fn check(output: &Output) -> Result<()> {
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// `ip` names a failed command only by its line, counted from 1, as in `Command failed -:3`.
fn failed_commands<'a>(output: &Output, commands: &'a [String]) -> Vec<&'a str> {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("Command failed -:"));
    lines
        .filter_map(|number| commands.get(number.trim().parse::<usize>().ok()?.checked_sub(1)?))
        .map(String::as_str)
        .collect()
}
