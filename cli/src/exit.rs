//! How the command ends: a failure and the exit code that tells scripts its kind.

/// A check failed: everything was reached, but not everything is well.
pub(crate) const NOT_WELL: u8 = 1;

/// A daemon could not be reached.
pub(crate) const UNREACHABLE: u8 = 3;

/// Why the command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What to tell.
    pub(crate) error: anyhow::Error,
    /// The exit code. 2 is clap's, for arguments that make no sense.
    pub(crate) code: u8,
}

impl Failure {
    /// A failure of a kind that has its own code.
    pub(crate) fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        Self { error, code }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(NOT_WELL, error)
    }
}
