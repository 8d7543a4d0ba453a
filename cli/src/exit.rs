//! How the command ends: a failure and the exit code that tells scripts its kind.

use multicluster::preflight::Unfit;

/// A check failed: everything was reached, but not everything is well.
pub(crate) const NOT_WELL: u8 = 1;

/// This machine cannot do what was asked; also clap's code for arguments that make no sense.
pub(crate) const UNFIT: u8 = 2;

/// A daemon could not be reached.
pub(crate) const UNREACHABLE: u8 = 3;

/// Why the command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What to tell.
    pub(crate) error: anyhow::Error,
    /// The exit code.
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
        let error = error.into();
        let code = match error.is::<Unfit>() {
            true => UNFIT,
            false => NOT_WELL,
        };
        Self { error, code }
    }
}
