//! What a ClusterLink's status shall be.

use std::time::{Duration, SystemTime};

use cluster_registry::link::LinkStatus;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use super::condition::{Holds, Subject};
use crate::api::{ClusterLinkStatus, Rejection};

/// How long before a peer's certificate ends that is worth a word: certificates last a day and are renewed at half of it.
const EXPIRY_NOTICE: Duration = Duration::from_secs(6 * 3_600);

/// The status of a link; `link` is `None` when the object does not count.
pub(super) fn status(link: Option<&LinkStatus>, subject: Subject<'_>) -> ClusterLinkStatus {
    let Some(link) = link else {
        let holds = Holds::new(
            "Unknown",
            "NotUsed",
            "the link does not count: see the problems in `isthmus status`",
        );
        return ClusterLinkStatus {
            observed_generation: subject.generation,
            conditions: vec![subject.condition("Connected", holds)],
            ..ClusterLinkStatus::default()
        };
    };
    let rejections = link.refused.iter().map(|(reason, count)| Rejection {
        reason: (*reason).to_owned(),
        count: number(*count),
    });
    ClusterLinkStatus {
        observed_generation: subject.generation,
        accepted: number(link.accepted),
        rejected: number(link.refused.values().sum()),
        rejections: rejections.collect(),
        certificate_expires: link.certificate_expires.and_then(time),
        conditions: conditions(link, subject),
    }
}

fn conditions(link: &LinkStatus, subject: Subject<'_>) -> Vec<Condition> {
    let connected = if link.connected {
        Holds::new("True", "SessionUp", "")
    } else {
        Holds::new(
            "False",
            "NoSession",
            link.reason.clone().unwrap_or_default(),
        )
    };
    let synced = if link.synced {
        Holds::new("True", "AllKnown", "")
    } else {
        Holds::new(
            "False",
            "Incomplete",
            "not all that the peer has said is known",
        )
    };
    let refused: Vec<String> = link
        .refused
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, _)| (*reason).to_owned())
        .collect();
    let violation = if refused.is_empty() {
        Holds::new("False", "NothingRefused", "")
    } else {
        // Not the counts, which change all the time.
        let message = format!("refused for: {}", refused.join(", "));
        Holds::new("True", "AnnouncementsRefused", message)
    };
    vec![
        subject.condition("Connected", connected),
        subject.condition("Synced", synced),
        subject.condition("PolicyViolation", violation),
        subject.condition("CertificateExpiring", expiring(link, subject.now)),
    ]
}

fn expiring(link: &LinkStatus, now: Timestamp) -> Holds {
    let Some(end) = link.certificate_expires.and_then(time) else {
        return Holds::new(
            "Unknown",
            "NotSeen",
            "no session has shown the peer's certificate yet",
        );
    };
    let notice = i64::try_from(EXPIRY_NOTICE.as_secs()).unwrap_or(i64::MAX);
    if end.0.as_second().saturating_sub(now.as_second()) < notice {
        let message = format!("the peer's certificate ends at {}", end.0);
        Holds::new("True", "EndsSoon", message)
    } else {
        Holds::new("False", "ValidLongEnough", "")
    }
}

fn time(at: SystemTime) -> Option<Time> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let seconds = i64::try_from(since.as_secs()).ok()?;
    Timestamp::from_second(seconds).ok().map(Time)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
