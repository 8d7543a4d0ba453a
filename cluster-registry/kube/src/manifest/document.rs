//! Reads the text of one manifest file: its documents, the objects in them that count, and what is wrong with the rest.
//!
//! Pure, and hard against hostile text: depth, nodes and the growth by aliases are bounded. The text is cut at its
//! document marks before it is parsed, so that a document that is no YAML at all does not hide those after it.

mod cut;
mod entry;
mod yaml;

use serde_json::Value;

use self::cut::Piece;
use crate::object::{Object, ObjectKey};

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Content {
    /// The objects that count, in the file's order.
    pub(super) objects: Vec<Found>,
    /// What is wrong.
    pub(super) complaints: Vec<Complaint>,
    /// What is right but none of ours.
    pub(super) skipped: Vec<Complaint>,
}

/// An object that counts.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    /// The number of its document, from 1.
    pub(super) document: usize,
    pub(super) key: ObjectKey,
    pub(super) object: Object,
}

/// Something to be said of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The number of the document, from 1; 0 for the file as a whole.
    pub(super) document: usize,
    pub(super) text: String,
}

impl Content {
    /// The content of a file of which only this can be said.
    pub(super) fn of_complaint(text: String) -> Self {
        Self {
            complaints: vec![Complaint { document: 0, text }],
            ..Self::default()
        }
    }

    fn complain(&mut self, document: usize, text: String) {
        self.complaints.push(Complaint { document, text });
    }

    fn skip(&mut self, document: usize, text: String) {
        self.skipped.push(Complaint { document, text });
    }
}

/// The form of a file, by its name's ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Any number of YAML documents.
    Yaml,
    /// One JSON value.
    Json,
}

/// Reads a file's text.
pub(super) fn read(text: &str, form: Form) -> Content {
    let mut content = Content::default();
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match form {
        Form::Yaml => {
            for piece in cut::pieces(text) {
                let parsed = yaml::parse(&piece);
                take(&mut content, piece.number, parsed);
            }
        }
        Form::Json if text.trim().is_empty() => {}
        Form::Json => {
            let parsed = serde_json::from_str(text).map_err(|error| error.to_string());
            take(&mut content, 1, parsed);
        }
    }
    content
}

fn take(content: &mut Content, document: usize, parsed: Result<Value, String>) {
    match parsed {
        Ok(value) => entry::read(content, document, value),
        Err(text) => content.complain(document, text),
    }
}

#[cfg(test)]
mod tests;
