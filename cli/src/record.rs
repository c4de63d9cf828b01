//! Entries as lines of text: TSV with escapes, or one JSON object a line.
//!
//! TSV: key, tab, value, newline, each field with the escapes of `escape`. NDJSON: `k` and `v` hold
//! UTF-8 text; what is not UTF-8 stands as base64 in `k64` and `v64`.
//!
//! A line may name the tree of the lines behind it: `# tree NAME`, with escapes and without a tab,
//! or an object with `tree` alone.

use crate::failure::Outcome;
use crate::out::Out;
use crate::{base64, escape};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lines {
    /// Key, tab, value; \\ \t \n \r for those bytes, \xNN for what is not UTF-8
    Tsv,
    /// {"k":..,"v":..} a line; k64, v64 (base64) for what is not UTF-8
    Ndjson,
}

/// One entry as JSON.
pub(crate) fn to_json(key: &[u8], value: &[u8]) -> Value {
    let mut object = Map::new();
    for (name, bytes) in [("k", key), ("v", value)] {
        match std::str::from_utf8(bytes) {
            Ok(text) => object.insert(name.to_owned(), text.into()),
            Err(_) => object.insert(format!("{name}64"), base64::encode(bytes).into()),
        };
    }
    Value::Object(object)
}

/// What begins a TSV line that names a tree.
const TREE: &str = "# tree ";

/// What a line holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Entry(Vec<u8>, Vec<u8>),
    /// The tree that the entries behind it belong to.
    Tree(String),
}

/// Writes the line that names the tree of the entries behind it.
pub(crate) fn write_tree(out: &mut Out, lines: Lines, name: &str) -> Outcome {
    match lines {
        Lines::Ndjson => out.json(&json!({ "tree": name })),
        Lines::Tsv => out.line(&format!("{TREE}{}", escape::escape(name.as_bytes()))),
    }
}

pub(crate) fn write(out: &mut Out, lines: Lines, key: &[u8], value: &[u8]) -> Outcome {
    match lines {
        Lines::Ndjson => out.json(&to_json(key, value)),
        Lines::Tsv => {
            out.bytes(escape::escape(key).as_bytes())?;
            out.bytes(b"\t")?;
            out.line(&escape::escape(value))
        }
    }
}

/// Reads one line, given without its newline.
///
/// # Errors
/// What is wrong with it and what to do, without the line's number.
pub(crate) fn parse(lines: Lines, line: &[u8]) -> Result<Line, String> {
    let text = std::str::from_utf8(line)
        .map_err(|_| "not UTF-8; write such bytes as \\xNN (in NDJSON: k64, v64)".to_owned())?;
    match lines {
        Lines::Tsv => parse_tsv(text),
        Lines::Ndjson => parse_json(text),
    }
}

fn parse_tsv(text: &str) -> Result<Line, String> {
    if text.contains('\r') {
        return Err("a bare carriage return; write it as \\r, or convert the line ends".to_owned());
    }
    let Some((key, value)) = text.split_once('\t') else {
        if let Some(name) = text.strip_prefix(TREE) {
            let name = String::from_utf8(escape::unescape(name)?);
            return name.map(Line::Tree).map_err(|_| "the tree's name is not UTF-8".to_owned());
        }
        return Err(
            "no tab between key and value; for an empty value end the line with a tab".into()
        );
    };
    if value.contains('\t') {
        return Err("a second tab; write a tab inside a value as \\t".to_owned());
    }
    Ok(Line::Entry(escape::unescape(key)?, escape::unescape(value)?))
}

/// A line of JSON. None of its fields may stand in it twice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    tree: Option<String>,
    k: Option<String>,
    k64: Option<String>,
    v: Option<String>,
    v64: Option<String>,
}

fn parse_json(text: &str) -> Result<Line, String> {
    let fields: Fields = serde_json::from_str(text)
        .map_err(|error| format!("not a JSON object of an entry or a tree ({error})"))?;
    let field = |name, plain: Option<String>, coded: Option<String>| match (plain, coded) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(text)) => {
            base64::decode(&text).ok_or_else(|| format!("{name}64 is not padded base64"))
        }
        (None, None) => Err(format!("neither {name} nor {name}64")),
        (Some(_), Some(_)) => Err(format!("one of {name} and {name}64 is needed")),
    };
    match fields {
        Fields { tree: Some(name), k: None, k64: None, v: None, v64: None } => Ok(Line::Tree(name)),
        Fields { tree: Some(_), .. } => Err("tree stands alone".to_owned()),
        Fields { k, k64, v, v64, tree: None } => {
            Ok(Line::Entry(field("k", k, k64)?, field("v", v, v64)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_a_key_and_a_value() {
        let parse = |line: &[u8]| parse(Lines::Tsv, line);
        let entry = Line::Entry(b"a\t".to_vec(), b"b\xff".to_vec());
        assert_eq!(parse(b"a\\t\tb\\xff"), Ok(entry));
        assert_eq!(parse(b"a\t"), Ok(Line::Entry(b"a".to_vec(), Vec::new())));
        for bad in [&b"a"[..], b"", b"a\tb\tc", b"a\tb\r", b"\xff\tb", b"a\\q\tb"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_line_without_a_tab_may_name_a_tree() {
        let tree = |name: &str| Ok(Line::Tree(name.to_owned()));
        assert_eq!(parse(Lines::Tsv, b"# tree a\\tb c"), tree("a\tb c"));
        assert_eq!(parse(Lines::Ndjson, br#"{"tree":"a\tb"}"#), tree("a\tb"));
        let entry = Line::Entry(b"# tree a".to_vec(), b"v".to_vec());
        assert_eq!(parse(Lines::Tsv, b"# tree a\tv"), Ok(entry));
        for bad in [&b"# tree"[..], b"# tree \\xff", b"# note", b"# tree x\r"] {
            assert!(parse(Lines::Tsv, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn json_lines_come_back() {
        for (key, value) in [(&b"k"[..], &b"v\n\""[..]), (b"\xff\x00", b""), (b"", b"\xc3")] {
            let line = to_json(key, value).to_string();
            let got = parse(Lines::Ndjson, line.as_bytes());
            assert_eq!(got, Ok(Line::Entry(key.to_vec(), value.to_vec())), "{line}");
        }
        for bad in [
            "[]",
            "{",
            r#"{"k":"a"}"#,
            r#"{"k":1,"v":"b"}"#,
            r#"{"k":"a","k64":"","v":""}"#,
            r#"{"k64":"*","v":""}"#,
            r#"{"k":"a","v":"b","x":1}"#,
            r#"{"tree":"t","k":"a","v":"b"}"#,
            r#"{"tree":1}"#,
            r#"{"k":"a","v":"b","k":"c"}"#,
            r#"{"tree":"t","tree":"u"}"#,
        ] {
            assert!(parse(Lines::Ndjson, bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
