//! `isthmus lab`: clusters on this machine.

use std::{ffi::OsStr, time::Instant};

use anyhow::{Context, Result, anyhow, ensure};
use multicluster::{Direction, Lab, Mode, Options, Plan, Target, Topology};
use serde_json::{Value, json};

use crate::{
    args,
    exit::Failure,
    output::{Output, Section},
    sources::text,
};

pub(crate) fn run(command: args::Lab, output: &Output) -> Result<(), Failure> {
    match command {
        args::Lab::Up {
            topology,
            lab,
            kubernetes,
            no_daemons,
            bin_dir,
        } => {
            let topology = match topology {
                Some(file) => Topology::read(&file),
                None => Topology::demo(),
            }?;
            let topology = match lab {
                Some(name) => topology.named(&name),
                None => topology,
            };
            let options = Options {
                daemons: !no_daemons,
                mode: Mode::with_api_servers(kubernetes),
                bin_dir,
                ..Options::default()
            };
            up(&topology, &options, output)
        }
        args::Lab::Down { lab, all } => down(lab, all, output),
        args::Lab::List => {
            let labs = multicluster::labs()?;
            let document = json!({"labs": labs});
            let lines = labs.into_iter().collect();
            Ok(output.document(&document, |_| vec![Section::Lines(lines)])?)
        }
        args::Lab::Status { lab } => {
            let document = document(&open(lab)?)?;
            Ok(output.document(&document, sections)?)
        }
        args::Lab::Exec { lab, pod, command } => match open(lab.lab)?.exec_here(&pod, &command) {
            Ok(never) => match never {},
            Err(error) => Err(error.into()),
        },
        args::Lab::Controller { lab } => {
            Lab::open(&lab)?.run_controller();
            Ok(())
        }
        command @ (args::Lab::Cut { .. }
        | args::Lab::Heal { .. }
        | args::Lab::Kill { .. }
        | args::Lab::Start { .. }
        | args::Lab::Logs { .. }) => disturb(command, output),
    }
}

/// Cuts, heals, kills and starts.
fn disturb(command: args::Lab, output: &Output) -> Result<(), Failure> {
    match command {
        args::Lab::Cut {
            lab,
            from,
            to,
            one_way,
        } => {
            open(lab.lab)?.cut(&from, &to, direction(one_way))?;
            let what = if one_way { "to" } else { "and" };
            output.done(&format!("cut {from} {what} {to}"))?;
        }
        args::Lab::Heal {
            lab,
            from: Some(from),
            to: Some(to),
            one_way,
        } => {
            open(lab.lab)?.heal(&from, &to, direction(one_way))?;
            output.done(&format!("healed {from} and {to}"))?;
        }
        args::Lab::Heal { lab, .. } => {
            open(lab.lab)?.heal_all()?;
            output.done("healed all cuts")?;
        }
        args::Lab::Kill { lab, target, term } => {
            let target: Target = target.parse()?;
            let lab = open(lab.lab)?;
            if term {
                lab.terminate(&target)?;
            } else {
                lab.kill(&target)?;
            }
            output.done(&format!("{target} has ended"))?;
        }
        args::Lab::Start { lab, target } => {
            let target: Target = target.parse()?;
            open(lab.lab)?.start(&target)?;
            output.done(&format!("started {target}"))?;
        }
        args::Lab::Logs { lab, target } => {
            let target: Target = target.parse()?;
            let tail = open(lab.lab)?.log_tail(&target);
            let document = json!({"target": target.to_string(), "log": tail});
            output.document(&document, |_| vec![Section::Lines(vec![tail.clone()])])?;
        }
        args::Lab::Up { .. }
        | args::Lab::Down { .. }
        | args::Lab::List
        | args::Lab::Status { .. }
        | args::Lab::Exec { .. }
        | args::Lab::Controller { .. } => {
            return Err(anyhow!("that changes nothing in a running lab").into());
        }
    }
    Ok(())
}

fn up(topology: &Topology, options: &Options, output: &Output) -> Result<(), Failure> {
    let begun = Instant::now();
    let lab = Lab::up(topology, options)?;
    let (name, plan) = (lab.name().to_owned(), lab.plan().clone());
    let own = std::env::current_exe().context("finding this program")?;
    let words = ["lab", "controller", &name].map(OsStr::new);
    lab.keep(&[&[own.as_os_str()], words.as_slice()].concat())?;
    let seconds = begun.elapsed().as_secs_f64();
    let document = json!({
        "lab": name,
        "mode": plan.mode.to_string(),
        "kubeconfigs": kubeconfigs(&plan),
        "seconds": seconds,
    });
    output.document(&document, |_| {
        let mut lines = vec![format!(
            "lab {name} is up after {seconds:.1} s: {} clusters, {} nodes, {} pods",
            plan.topology.clusters.len(),
            plan.nodes.len(),
            plan.pods.len()
        )];
        let hints = multicluster::hints(&plan)
            .into_iter()
            .chain(multicluster::kubectl(&plan));
        lines.extend(hints.map(|hint| format!("  {hint}")));
        vec![Section::Lines(lines)]
    })?;
    Ok(())
}

fn down(lab: Option<String>, all: bool, output: &Output) -> Result<(), Failure> {
    let names = if all {
        multicluster::labs()?.into_iter().collect()
    } else {
        vec![named_or_only(lab)?]
    };
    for name in &names {
        ensure_exists(name)?;
        multicluster::sweep(name)?;
        output.done(&format!("lab {name} is gone"))?;
    }
    if names.is_empty() {
        output.done("there is no lab")?;
    }
    Ok(())
}

fn ensure_exists(name: &str) -> Result<()> {
    let labs = multicluster::labs()?;
    ensure!(labs.contains(name), "there is no lab {name}{}", known(labs));
    Ok(())
}

fn known(labs: impl IntoIterator<Item = String>) -> String {
    let labs: Vec<_> = labs.into_iter().collect();
    if labs.is_empty() {
        return String::new();
    }
    format!("; there is {}", labs.join(", "))
}

fn open(lab: Option<String>) -> Result<Lab> {
    Lab::open(&named_or_only(lab)?)
}

fn named_or_only(lab: Option<String>) -> Result<String> {
    if let Some(name) = lab {
        return Ok(name);
    }
    let mut labs = multicluster::labs()?;
    let only = labs.pop_first();
    match (only, labs.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(first), false) => Err(anyhow!(
            "there are several labs: name one of {first}, {}",
            labs.into_iter().collect::<Vec<_>>().join(", ")
        )),
        (None, _) => Err(anyhow!("there is no lab: `isthmus lab up` builds one")),
    }
}

fn direction(one_way: bool) -> Direction {
    if one_way {
        Direction::OneWay
    } else {
        Direction::Both
    }
}

/// The lab as one document.
fn document(lab: &Lab) -> Result<Value> {
    let plan = lab.plan();
    let state = |target: &Target| -> Result<&'static str> {
        Ok(if !lab.is_running(target)? {
            "ended"
        } else if lab.is_ready(target).unwrap_or(false) {
            "ready"
        } else {
            "running"
        })
    };
    let mut programs = Vec::new();
    for target in lab.targets() {
        let (cluster, place, addresses) = place_of(lab, &target)?;
        programs.push(json!({
            "name": target.to_string(),
            "cluster": cluster,
            "node": place,
            "addresses": addresses,
            "state": state(&target)?,
        }));
    }
    let idle = plan.pods.iter().filter(|pod| pod.pod.command.is_empty());
    programs.extend(idle.map(|pod| {
        json!({
            "name": pod.path(),
            "cluster": pod.cluster,
            "node": pod.node,
            "addresses": pod.addresses,
            "state": "idle",
        })
    }));
    let cuts = lab.cuts()?;
    Ok(json!({
        "lab": lab.name(),
        "mode": plan.mode.to_string(),
        "kubeconfigs": kubeconfigs(plan),
        "programs": programs,
        "cuts": cuts,
    }))
}

/// The kubeconfig of each cluster that has an API server.
fn kubeconfigs(plan: &Plan) -> Value {
    match plan.mode {
        Mode::Manifests => json!({}),
        Mode::Kubernetes => {
            let clusters = plan.topology.clusters.iter();
            let paths = clusters.map(|c| (c.name.clone(), json!(plan.kubeconfig(&c.name))));
            Value::Object(paths.collect())
        }
    }
}

fn place_of(lab: &Lab, target: &Target) -> Result<(String, String, Value)> {
    let plan = lab.plan();
    let node = match target {
        Target::Gateway { cluster, number: _ } | Target::ApiServer { cluster } => {
            plan.gateway_node(cluster)?
        }
        Target::Agent { cluster, node } => plan.node(cluster, node)?,
        Target::Pod { .. } => {
            let pod = plan.pod(&target.to_string())?;
            return Ok((pod.cluster.clone(), pod.node.clone(), json!(pod.addresses)));
        }
    };
    let addresses = json!([node.ipv4, node.ipv6]);
    Ok((node.cluster.clone(), node.name.clone(), addresses))
}

fn sections(document: &Value) -> Vec<Section> {
    let all = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    let programs = all("programs").iter().map(row).collect();
    let cuts = all("cuts")
        .iter()
        .map(|cut| vec![text(&cut["from"]), text(&cut["to"])])
        .collect();
    vec![
        Section::Table {
            title: format!(
                "Lab {} ({})",
                text(&document["lab"]),
                text(&document["mode"])
            ),
            header: vec!["NAME", "NODE", "STATE", "ADDRESSES"],
            rows: programs,
        },
        Section::Table {
            title: "Cuts".to_owned(),
            header: vec!["FROM", "TO"],
            rows: cuts,
        },
    ]
}

fn row(program: &Value) -> Vec<String> {
    let addresses = program["addresses"].as_array().cloned().unwrap_or_default();
    let addresses: Vec<_> = addresses.iter().map(text).collect();
    vec![
        text(&program["name"]),
        text(&program["node"]),
        text(&program["state"]),
        addresses.join(" "),
    ]
}
