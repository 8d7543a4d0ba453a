//! Reads what the tunnel and the kernel have counted, for the metrics.

use std::{fs, time::Duration};

use super::{Device, status};
use crate::tunnel::Tunnel;

/// How often.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// A line per processor, whose numbers are hexadecimal; of this machine, not of a network namespace.
const IPV4_FILE: &str = "/proc/net/stat/rt_cache";
const IPV4_NAME: &str = "in_no_route";

const IPV6_FILE: &str = "/proc/net/snmp6";
const IPV6_NAME: &str = "Ip6InNoRoutes";

impl Device {
    /// Brings the metrics up to date.
    pub(super) async fn count(&self, tunnel: &Tunnel) {
        let plan = self.plan.borrow().clone().unwrap_or_default();
        let paths = self.paths.borrow().clone();
        let status = status::of(tunnel, &plan, &paths).await;
        match tunnel.drops().await {
            Ok(drops) => self.metrics.note(&status, &drops),
            Err(error) => tracing::debug!(%error, "what the tunnel did not carry is not known"),
        }
        // What the kernel does not count is not shown.
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        if let Some(count) = ipv4(&read(IPV4_FILE)) {
            self.metrics.note_unrouted("ipv4", count);
        }
        if let Some(count) = ipv6(&read(IPV6_FILE)) {
            self.metrics.note_unrouted("ipv6", count);
        }
    }
}

/// Packets that came in and that no route led on, or a refusing one.
fn ipv4(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let mut names = lines.next()?.split_whitespace();
    let column = names.position(|name| name == IPV4_NAME)?;
    let counts = lines.map(|line| {
        let number = line.split_whitespace().nth(column)?;
        u64::from_str_radix(number, 16).ok()
    });
    counts.sum()
}

fn ipv6(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| {
        let (name, number) = line.split_once(char::is_whitespace)?;
        (name == IPV6_NAME).then(|| number.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_without_a_route_are_added_up_over_the_processors() {
        let text = "entries  in_hit   in_slow_tot in_slow_mc in_no_route in_brd\n\
                    00000005 00000000 0000024a    00000000   0000021c    00000000\n\
                    00000005 00000000 0000020b    00000000   000001ee    00000000\n";

        assert_eq!(ipv4(text), Some(0x21c + 0x1ee));
        assert_eq!(ipv4("entries\n0\n"), None);
        assert_eq!(ipv4(""), None);
    }

    #[test]
    fn ipv6_has_its_number_by_name() {
        let text =
            "Ip6InTooBigErrors     \t9\nIp6InNoRoutes                   \t7\nIp6OutNoRoutes\t3\n";

        assert_eq!(ipv6(text), Some(7));
        assert_eq!(ipv6("Ip6InNoRoutes many"), None);
    }
}
