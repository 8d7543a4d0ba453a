//! Whether there shall be a fast path, as the operator writes it.

use std::{fmt, str::FromStr};

/// What the operator wants of the fast path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FastPath {
    /// None.
    Off,
    /// By the driver where it can, else by the kernel in its place.
    Auto,
    /// By the driver, or not at all.
    Native,
    /// By the kernel in the driver's place.
    Generic,
}

/// The text names no such wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write off, auto, native or generic")]
pub struct ParseFastPathError;

impl FromStr for FastPath {
    type Err = ParseFastPathError;

    fn from_str(text: &str) -> Result<Self, ParseFastPathError> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            "native" => Ok(Self::Native),
            "generic" => Ok(Self::Generic),
            _ => Err(ParseFastPathError),
        }
    }
}

impl fmt::Display for FastPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}
