//! What kube-proxy would have installed: the rules of its iptables and its nftables mode, for the same services.

use std::{fmt::Write, fs, net::Ipv4Addr};

use anyhow::{Context, ensure};
use multicluster::Lab;

use crate::task::{bench::services::PORT, command::target_dir};

/// The address of the called service; the other services' addresses follow it.
pub(crate) const FIRST: Ipv4Addr = Ipv4Addr::new(10, 111, 0, 0);

/// Who translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Baseline {
    Iptables,
    Nftables,
}

impl Baseline {
    /// The metric that it gives.
    pub(crate) fn metric(self) -> &'static str {
        match self {
            Self::Iptables => "iptables_crr_ratio",
            Self::Nftables => "nftables_crr_ratio",
        }
    }

    /// Which of the services is called: the last, which iptables finds after all others.
    pub(crate) fn called(count: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(FIRST) + count)
    }

    /// Installs the rules of `count` services on the node; the called one leads to the pod, `bare` stays without conntrack.
    pub(crate) fn install(
        self,
        lab: &Lab,
        count: u32,
        pod: Ipv4Addr,
        bare: Ipv4Addr,
    ) -> anyhow::Result<()> {
        let rules = match self {
            Self::Iptables => iptables(count, pod),
            Self::Nftables => nftables(count, pod),
        }?;
        Self::Nftables.load(lab, &untracked(bare))?;
        self.load(lab, &rules)
    }

    /// Takes the rules away again.
    pub(crate) fn remove(self, lab: &Lab) -> anyhow::Result<()> {
        Self::Nftables.load(lab, "delete table ip bare\n")?;
        self.load(
            lab,
            match self {
                Self::Iptables => "*nat\nCOMMIT\n",
                Self::Nftables => "delete table ip baseline\n",
            },
        )
    }

    fn load(self, lab: &Lab, rules: &str) -> anyhow::Result<()> {
        let file = target_dir().join("bench").join(self.metric());
        fs::write(&file, rules).with_context(|| format!("writing {}", file.display()))?;
        let file = file.to_string_lossy();
        match self {
            Self::Iptables => run(lab, &["iptables-legacy-restore", &file]),
            Self::Nftables => run(lab, &["nft", "-f", &file]),
        }
    }
}

fn run(lab: &Lab, argv: &[&str]) -> anyhow::Result<()> {
    let output = lab.spawn_on_node("east", "n1", argv)?.wait()?;
    ensure!(
        output.status.success(),
        "`{}` failed: {}",
        argv.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Rules that keep conntrack off the way to a pod, as it is where no proxy translates.
fn untracked(bare: Ipv4Addr) -> String {
    format!(
        "table ip bare {{ chain pre {{ type filter hook prerouting priority raw; ip saddr {bare} notrack; ip daddr {bare} notrack; }}\n}}\n"
    )
}

/// The services' addresses, with where they lead: the last to the pod, the others to where nobody is.
fn services(count: u32, pod: Ipv4Addr) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> {
    (1..=count).map(move |number| {
        let endpoint = if number == count {
            pod
        } else {
            Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 128, 0)) + number)
        };
        (Ipv4Addr::from(u32::from(FIRST) + number), endpoint)
    })
}

fn iptables(count: u32, pod: Ipv4Addr) -> anyhow::Result<String> {
    let mut chains = String::new();
    let mut rules = String::new();
    for (number, (address, endpoint)) in services(count, pod).enumerate() {
        writeln!(chains, ":SVC-{number} - [0:0]\n:SEP-{number} - [0:0]")?;
        writeln!(
            rules,
            "-A SERVICES -d {address}/32 -p tcp -m tcp --dport {PORT} -j SVC-{number}\n\
             -A SVC-{number} -j SEP-{number}\n\
             -A SEP-{number} -p tcp -m tcp -j DNAT --to-destination {endpoint}:{PORT}"
        )?;
    }
    Ok(format!(
        "*nat\n:SERVICES - [0:0]\n{chains}-A PREROUTING -j SERVICES\n-A OUTPUT -j SERVICES\n{rules}COMMIT\n"
    ))
}

fn nftables(count: u32, pod: Ipv4Addr) -> anyhow::Result<String> {
    let mut chains = String::new();
    let mut elements = String::new();
    for (number, (address, endpoint)) in services(count, pod).enumerate() {
        writeln!(
            chains,
            "chain sep-{number} {{ meta l4proto tcp dnat to {endpoint}:{PORT}; }}\n\
             chain svc-{number} {{ numgen random mod 1 vmap {{ 0 : goto sep-{number} }}; }}"
        )?;
        writeln!(elements, "{address} . tcp . {PORT} : goto svc-{number},")?;
    }
    Ok(format!(
        "table ip baseline {{\n{chains}\
         map services {{ type ipv4_addr . inet_proto . inet_service : verdict; elements = {{ {elements} }}; }}\n\
         chain pre {{ type nat hook prerouting priority -100; ip daddr . meta l4proto . th dport vmap @services; }}\n}}\n"
    ))
}
