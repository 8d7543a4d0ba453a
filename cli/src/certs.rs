//! `isthmus certs`: the authority and the credentials it issues.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use certs::{
    TrustDomain,
    commands::{self, Init, Inspection, Issue},
};
use serde_json::json;

use crate::{
    args::Certs,
    exit::{Failure, NOT_WELL},
    output::{Output, Section},
};

pub(crate) fn run(command: Certs, output: &Output) -> Result<(), Failure> {
    let now = SystemTime::now();
    match command {
        Certs::Init {
            dir,
            trust_domain,
            valid_for,
            force,
        } => {
            let trust_domain = TrustDomain::parse(&trust_domain)?;
            let init = Init {
                dir,
                trust_domain,
                valid_for,
                force,
            };
            make_authority(&init, now, output)
        }
        Certs::Issue {
            ca,
            cluster,
            node,
            out,
            valid_for,
            force,
        } => {
            let issue = Issue {
                authority: ca,
                cluster,
                node,
                out,
                valid_for,
                force,
            };
            issue_credentials(&issue, now, output)
        }
        Certs::Inspect { path } => inspect(&path, now, output),
    }
}

fn make_authority(init: &Init, now: SystemTime, output: &Output) -> Result<(), Failure> {
    commands::init(init, now).context("making the authority")?;
    let dir = init.dir.display().to_string();
    let trust_domain = init.trust_domain.to_string();
    let document = json!({"authority": dir, "trust_domain": trust_domain});
    output.document(&document, |_| {
        lines([
            format!("made the authority of {trust_domain} in {dir}"),
            "keep ca-key.pem off the clusters; give each daemon only what `isthmus certs issue` writes".to_owned(),
        ])
    })?;
    Ok(())
}

fn issue_credentials(issue: &Issue, now: SystemTime, output: &Output) -> Result<(), Failure> {
    let id = commands::issue(issue, now).context("issuing credentials")?;
    let out = issue.out.display().to_string();
    let document = json!({"id": id.to_string(), "credentials": out});
    output.document(&document, |_| lines([format!("issued {id} in {out}")]))?;
    Ok(())
}

fn inspect(path: &Path, now: SystemTime, output: &Output) -> Result<(), Failure> {
    let found = commands::inspect(path, now).context("inspecting certificates")?;
    let document = json!({"certificates": found});
    output.document(&document, |_| vec![table(&found, now)])?;
    if found
        .iter()
        .all(|certificate| certificate.is_valid_now && certificate.problem.is_none())
    {
        return Ok(());
    }
    Err(Failure::new(
        NOT_WELL,
        anyhow::anyhow!("not every certificate there can be used"),
    ))
}

fn table(found: &[Inspection], now: SystemTime) -> Section {
    let row = |certificate: &Inspection| {
        let role = if certificate.is_authority {
            "authority"
        } else {
            "holder"
        };
        vec![
            certificate.file.display().to_string(),
            role.to_owned(),
            certificate.uri.clone().unwrap_or_else(|| "-".to_owned()),
            left(certificate.not_after_unix_s, now),
            certificate
                .problem
                .clone()
                .unwrap_or_else(|| "none".to_owned()),
        ]
    };
    Section::Table {
        title: String::new(),
        header: vec!["FILE", "ROLE", "ID", "EXPIRES", "PROBLEM"],
        rows: found.iter().map(row).collect(),
    }
}

/// How long a certificate is still valid, in the largest unit that says something.
fn left(not_after_unix_s: i64, now: SystemTime) -> String {
    let now = now.duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or(Duration::ZERO).as_secs();
    let until = u64::try_from(not_after_unix_s).unwrap_or(0);
    match until.checked_sub(now) {
        None => "expired".to_owned(),
        Some(seconds) if seconds >= 2 * 24 * 3600 => format!("in {} days", seconds / (24 * 3600)),
        Some(seconds) if seconds >= 2 * 3600 => format!("in {} hours", seconds / 3600),
        Some(seconds) => format!("in {} minutes", seconds / 60),
    }
}

fn lines(lines: impl IntoIterator<Item = String>) -> Vec<Section> {
    vec![Section::Lines(lines.into_iter().collect())]
}
