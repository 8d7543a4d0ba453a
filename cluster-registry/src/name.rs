//! The names of clusters, namespaces, services, nodes and ports, checked once where they enter.
//!
//! A value of these types holds a valid name, so nothing downstream checks again.

mod text;

use std::{
    borrow::Borrow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use text::Text;

/// The longest DNS label (RFC 1035, section 2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;

/// The longest DNS subdomain that Kubernetes takes as a name.
pub const MAX_SUBDOMAIN_BYTES: usize = 253;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// The text is empty.
    #[error("a name may not be empty")]
    Empty,
    /// The text is longer than the format allows.
    #[error("'{name}' is {length} bytes long, more than {max}")]
    TooLong {
        /// The text, cut to the limit.
        name: String,
        /// How long it was, in bytes.
        length: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The text has a byte that names may not have there.
    #[error(
        "'{0}' may only have lower-case letters, digits and '-', and must begin and end with a letter or digit"
    )]
    BadCharacter(String),
}

// Names stand in keys, of which there are hundreds of thousands, so a name is one pointer wide.
macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Eq)]
        pub struct $type(Arc<Text>);

        impl $type {
            /// Checks a text and keeps it.
            pub fn parse(text: &str) -> Result<Self, ParseNameError> {
                $check(text)?;
                Ok(Self(Arc::new(Text::new(text))))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        // Nearly all comparisons that find two names alike are of one copy.
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
            }
        }

        impl Ord for $type {
            fn cmp(&self, other: &Self) -> Ordering {
                if Arc::ptr_eq(&self.0, &other.0) {
                    return Ordering::Equal;
                }
                self.0.cmp(&other.0)
            }
        }

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Hash for $type {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        // A name orders as its text does, so that a set of names can be asked for a text.
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl FromStr for $type {
            type Err = ParseNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
    };
}

name_type!(
    /// A cluster's name: one RFC 1123 label or two joined by a dot, unique and stable within the clusterset.
    ///
    /// It has at most 63 bytes in all, as it is the value of a label of EndpointSlices too.
    ClusterName,
    check_cluster
);
name_type!(
    /// A Kubernetes namespace.
    Namespace,
    check_label
);
name_type!(
    /// A node's name: an RFC 1123 subdomain, unique within its cluster.
    NodeName,
    check_subdomain
);
name_type!(
    /// The name of a host in DNS: an RFC 1123 subdomain.
    HostName,
    check_subdomain
);
name_type!(
    /// The name of a service within its namespace: an RFC 1123 label.
    ///
    /// Kubernetes asks for RFC 1035 and relaxes it release by release, so a leading digit is taken.
    ServiceLabel,
    check_label
);
name_type!(
    /// The name of a service's port: an RFC 1123 label.
    PortName,
    check_label
);

macro_rules! copies {
    ($type:ident) => {
        impl $type {
            /// Whether others hold this copy of the text too.
            pub(crate) fn is_shared(&self) -> bool {
                Arc::strong_count(&self.0) > 1
            }
        }
    };
}

impl NodeName {
    /// Whether both are one copy of the text.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

copies!(NodeName);
copies!(Namespace);
copies!(ServiceLabel);

/// A service's full name; the same name means the same service in every cluster of the clusterset.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// The namespace.
    pub namespace: Namespace,
    /// The name within the namespace.
    pub name: ServiceLabel,
}

impl ServiceName {
    /// Checks both halves and keeps them.
    pub fn parse(namespace: &str, name: &str) -> Result<Self, ParseNameError> {
        Ok(Self {
            namespace: Namespace::parse(namespace)?,
            name: ServiceLabel::parse(name)?,
        })
    }
}

impl ServiceName {
    /// A bound that sorts before every service of a namespace.
    pub(crate) fn first_of(namespace: Namespace) -> Self {
        Self {
            namespace,
            name: ServiceLabel(Arc::new(Text::new(""))),
        }
    }
}

#[cfg(test)]
impl ServiceName {
    /// Whether both are one copy of each half.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.namespace.0, &other.namespace.0)
            && Arc::ptr_eq(&self.name.0, &other.name.0)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn check_label(text: &str) -> Result<(), ParseNameError> {
    check_length(text, MAX_LABEL_BYTES)?;
    check_characters(text, text)?;
    Ok(())
}

fn check_cluster(text: &str) -> Result<(), ParseNameError> {
    check_length(text, MAX_LABEL_BYTES)?;
    let (first, second) = text.split_once('.').unwrap_or((text, text));
    check_characters(first, text)?;
    check_characters(second, text)
}

fn check_subdomain(text: &str) -> Result<(), ParseNameError> {
    check_length(text, MAX_SUBDOMAIN_BYTES)?;
    for label in text.split('.') {
        check_characters(label, text)?;
    }
    Ok(())
}

fn check_length(text: &str, max: usize) -> Result<(), ParseNameError> {
    if text.is_empty() {
        return Err(ParseNameError::Empty);
    }
    if text.len() > max {
        return Err(ParseNameError::TooLong {
            name: text.chars().take(max).collect(),
            length: text.len(),
            max,
        });
    }
    Ok(())
}

fn check_characters(label: &str, whole: &str) -> Result<(), ParseNameError> {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let bytes = label.as_bytes();
    let ends_well = bytes.first().is_some_and(|b| *b != b'-') && bytes.last() != Some(&b'-');
    if !ends_well || !bytes.iter().all(|b| is_inner(*b)) {
        return Err(ParseNameError::BadCharacter(whole.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_63_bytes_is_the_longest() {
        let longest = "a".repeat(63);
        let too_long = "a".repeat(64);

        assert_eq!(ClusterName::parse(&longest).unwrap().as_str(), longest);
        assert!(matches!(
            ClusterName::parse(&too_long),
            Err(ParseNameError::TooLong { length: 64, .. })
        ));
    }

    #[test]
    fn a_node_may_have_dots_and_a_cluster_one() {
        assert!(NodeName::parse("ip-10-0-0-1.ec2.internal").is_ok());
        assert!(ClusterName::parse("west.example").is_ok());
        for bad in ["a.b.c", "a.", ".a", "a..b", "-a.b", "a.B"] {
            assert!(ClusterName::parse(bad).is_err(), "{bad}");
        }
        let halves = format!("{}.{}", "a".repeat(31), "b".repeat(32));
        assert!(ClusterName::parse(&halves[..63]).is_ok());
        assert!(ClusterName::parse(&halves).is_err());
    }

    #[test]
    fn malformed_names_are_refused() {
        for bad in ["", "-a", "a-", "A", "a_b", "a b", "\u{e9}", "a/b", "a\0"] {
            assert!(ServiceLabel::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["a..b", ".a", "a.", "-a.b"] {
            assert!(NodeName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
