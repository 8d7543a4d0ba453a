//! The schema in `docs/protocol.md` is the one that the code has: every message, field, number and type.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../docs/protocol.md");

const SOURCES: [&str; 3] = [
    include_str!("../src/wire.rs"),
    include_str!("../src/wire/service.rs"),
    include_str!("../src/wire/range.rs"),
];

/// The fields of a message, or the alternatives of a oneof: type and name by number.
type Fields = BTreeMap<u32, (String, String)>;

#[test]
fn the_pages_schema_is_that_of_the_code() {
    let (page, code) = (of_page(), of_code());

    assert!(code.len() > 25 && code.contains_key("Hello"), "{code:?}");
    assert_eq!(
        page.keys().collect::<Vec<_>>(),
        code.keys().collect::<Vec<_>>()
    );
    for (name, fields) in &code {
        assert_eq!(&page[name], fields, "fields of {name}");
    }
}

/// The schema as the page has it; a oneof is named as the code's type for it.
fn of_page() -> BTreeMap<String, Fields> {
    let (_, rest) = PAGE.split_once("```proto\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let mut groups = BTreeMap::new();
    let mut open: Vec<String> = Vec::new();
    for line in block.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("message ") {
            let name = rest.split_whitespace().next().unwrap().to_owned();
            groups.entry(name.clone()).or_insert_with(Fields::new);
            if !rest.ends_with("{}") {
                open.push(name);
            }
        } else if let Some(rest) = line.strip_prefix("oneof ") {
            let name = rest.split_whitespace().next().unwrap();
            let (first, others) = name.split_at(1);
            open.push(first.to_uppercase() + others);
        } else if line == "}" {
            open.pop();
        } else if let Some((declared, number)) = line.split_once(" = ")
            && let Some(group) = open.last()
        {
            let (kind, name) = declared.rsplit_once(' ').unwrap();
            let number = number.trim_end_matches(';').parse().unwrap();
            let fields: &mut Fields = groups.entry(group.clone()).or_default();
            fields.insert(number, (kind.to_owned(), name.to_owned()));
        }
    }
    groups
}

/// The schema as prost's attributes in the code say it.
fn of_code() -> BTreeMap<String, Fields> {
    let mut groups = BTreeMap::new();
    let mut open = String::new();
    let mut attribute = None;
    for line in SOURCES.iter().flat_map(|source| source.lines()) {
        let opened = line
            .strip_prefix("pub struct ")
            .or_else(|| line.strip_prefix("pub enum "));
        if let Some(rest) = opened {
            open = rest.split_whitespace().next().unwrap().to_owned();
            groups.entry(open.clone()).or_insert_with(Fields::new);
        } else if let Some(rest) = line.strip_prefix("    #[prost(") {
            attribute = Some(rest.trim_end_matches(")]"));
        } else if let Some(attribute) = attribute.take()
            && !attribute.starts_with("oneof")
        {
            let (name, declared) = field_of(line.trim());
            let (kind, number) = attribute.split_once(", tag = ").unwrap();
            let number = number.trim_matches('"').parse().unwrap();
            let fields: &mut Fields = groups.entry(open.clone()).or_default();
            fields.insert(number, (kind_of(kind, declared), name));
        }
    }
    groups
}

/// The name of a field or alternative, in snake case, and its type in the code.
fn field_of(line: &str) -> (String, &str) {
    if let Some(field) = line.strip_prefix("pub ") {
        let (name, declared) = field.split_once(": ").unwrap();
        return (name.to_owned(), declared.trim_end_matches(','));
    }
    let (name, declared) = line.split_once('(').unwrap();
    let mut snake = String::new();
    for (n, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && n > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    (snake, declared.trim_end_matches("),"))
}

/// The type as a schema says it.
fn kind_of(attribute: &str, declared: &str) -> String {
    let scalar = attribute.split(',').next().unwrap();
    let inner = declared
        .trim_start_matches("Vec<")
        .trim_start_matches("Option<")
        .trim_end_matches('>');
    let kind = match scalar {
        "message" => inner.to_owned(),
        "bytes = \"vec\"" => "bytes".to_owned(),
        map if map.starts_with("btree_map") => "map<string, string>".to_owned(),
        scalar => scalar.to_owned(),
    };
    match attribute.contains("repeated") {
        true => format!("repeated {kind}"),
        false => kind,
    }
}
