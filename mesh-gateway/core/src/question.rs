//! What a session asks of the store that it publishes, and what the store answers.

use cluster_registry::{
    digest::{KeyRange, Step, StoreDigests, Summary},
    store::{Batch, Cursor, Page, ResumeError, Scope, Store},
};

/// A question to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What changed after a position.
    Changes {
        /// The position.
        after: Cursor,
    },
    /// What some ranges of keys hold.
    Page {
        /// The ranges.
        ranges: Vec<KeyRange>,
    },
    /// What to answer to what a subscriber holds; nothing begins the comparison.
    Compare {
        /// What the subscriber holds.
        theirs: Vec<Summary>,
    },
}

/// An answer of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Changes`].
    Changes(Result<Batch, ResumeError>),
    /// To [`Question::Page`].
    Page(Page),
    /// To [`Question::Compare`].
    Compared {
        /// What to say.
        step: Step,
        /// Where the store stood.
        cursor: Cursor,
    },
}

/// A store as one kind of reader sees it.
#[derive(Debug)]
pub struct Reader {
    scope: Option<Scope>,
    digests: StoreDigests,
}

impl Reader {
    /// The view of readers who may know all, or what is in a scope; always read the same store by it.
    pub fn new(scope: Option<Scope>) -> Self {
        Self {
            digests: StoreDigests::new(crate::convert::encode_for_digest, scope.clone()),
            scope,
        }
    }

    /// Where a reader stands that knows all it may know.
    pub fn cursor(&self, store: &Store) -> Cursor {
        match &self.scope {
            Some(scope) => scope.cursor(store),
            None => store.cursor(),
        }
    }

    /// Answers a question from the store, with about `limit` resources at most.
    pub fn answer(&mut self, store: &Store, question: &Question, limit: usize) -> Answer {
        match (question, &self.scope) {
            (Question::Changes { after }, Some(scope)) => {
                Answer::Changes(scope.changes_after(store, Some(*after), limit))
            }
            (Question::Changes { after }, None) => {
                Answer::Changes(store.changes_after(Some(*after), limit))
            }
            (Question::Page { ranges }, Some(scope)) => {
                Answer::Page(scope.page(store, ranges, limit))
            }
            (Question::Page { ranges }, None) => Answer::Page(store.page(ranges, limit)),
            (Question::Compare { theirs }, _) => Answer::Compared {
                step: self.digests.compare(store, theirs),
                cursor: self.cursor(store),
            },
        }
    }
}
