//! Cuts a YAML stream at its document marks.
//!
//! A line that begins with `---` is a mark wherever it stands, even within a quoted or block scalar (YAML 1.2.2,
//! section 9.1.2: "c-forbidden"), so the cut needs no parser.

/// One document of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// The number of the document, from 1, those without content not counted.
    pub(super) number: usize,
    /// How many lines of the file stand before it.
    pub(super) lines_before: usize,
    /// Its text, beginning with its mark if it has one.
    pub(super) text: &'a str,
}

/// The documents of a stream that have content.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut lines_before = 0;
    let mut end = 0;
    let mut keep = |start: usize, end: usize, lines_before: usize| {
        let text = &text[start..end];
        if has_content(text) {
            pieces.push(Piece {
                number: pieces.len() + 1,
                lines_before,
                text,
            });
        }
    };
    for (lines, line) in text.split_inclusive('\n').enumerate() {
        if is_mark(line) {
            keep(start, end, lines_before);
            start = end;
            lines_before = lines;
        }
        end += line.len();
    }
    keep(start, end, lines_before);
    pieces
}

fn is_mark(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether there is more than the mark, comments, directives and the end mark.
fn has_content(text: &str) -> bool {
    text.lines().any(|line| {
        let line = if is_mark(line) { &line[3..] } else { line };
        let line = line.trim();
        !(line.is_empty() || line.starts_with(['#', '%']) || line == "...")
    })
}
