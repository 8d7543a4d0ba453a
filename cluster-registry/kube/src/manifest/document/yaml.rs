//! Parses one YAML document within limits that keep hostile text from the memory and the stack.

use serde_json::Value;

use super::Piece;

/// How deep collections may nest; a Kubernetes object goes ten deep, and `serde_json` drops values recursively.
const MAX_DEPTH: usize = 64;

/// How many keys, values and collections a document may have: a `List` of ten thousand services has fewer.
const MAX_NODES: usize = 1_000_000;

/// How many parser events aliases may add to a document: ordinary manifests have none or a few.
const MAX_ALIAS_EVENTS: usize = 100_000;

/// How many bytes of text all values together may have: twice those of the largest file, which aliases may repeat.
const MAX_SCALAR_BYTES: usize = 2 * crate::manifest::MAX_FILE_BYTES;

/// Reads the document, or says in one line what is wrong and where in the file.
pub(super) fn parse(piece: &Piece<'_>) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_total_scalar_bytes: MAX_SCALAR_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIAS_EVENTS,
        },
    };
    serde_saphyr::from_str_with_options(piece.text, options)
        .map_err(|error| describe(&error, piece.lines_before))
}

/// Tells an error with its place in the file; the parser only knows the place in the document.
fn describe(error: &serde_saphyr::Error, lines_before: usize) -> String {
    let error = error.without_snippet();
    let mut text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let Some(place) = error.location() else {
        return text;
    };
    let suffix = format!(" at line {}, column {}", place.line(), place.column());
    if text.ends_with(&suffix) {
        text.truncate(text.len() - suffix.len());
    }
    let line = usize::try_from(place.line()).map_or(0, |line| line + lines_before);
    format!("line {line}, column {}: {text}", place.column())
}
