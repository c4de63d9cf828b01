//! Opening stores and trees, with errors that say what to do.

use crate::escape;
use crate::failure::{Failure, Kind, Outcome};
use bwtree::{Builder, Bytes, Db, Tree};
use std::ops::Bound;
use std::path::{Path, PathBuf};

/// A store and one of its trees, as most verbs take them.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The folder of the store
    pub(crate) dir: PathBuf,
    /// The tree in it; \\ \t \n \r \xNN stand for bytes
    #[arg(long, value_name = "NAME", default_value = DEFAULT_TREE, value_parser = parse_tree)]
    pub(crate) tree: String,
}

/// The tree of verbs that are not told another one.
pub(crate) const DEFAULT_TREE: &str = "default";

/// A range of keys on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Within {
    /// The first key
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    from: Option<Bytes>,
    /// The key before which to stop
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    to: Option<Bytes>,
    /// Only keys that begin so
    #[arg(long, value_parser = parse_key)]
    prefix: Option<Bytes>,
}

impl Within {
    pub(crate) fn bounds(&self) -> Bounds {
        bounds(self.from.as_ref(), self.to.as_ref(), self.prefix.as_ref())
    }

    /// Whether no range was given.
    pub(crate) fn is_everything(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.prefix.is_none()
    }
}

/// A key on the command line, with the escapes of `escape`.
pub(crate) fn parse_key(text: &str) -> Result<Bytes, String> {
    escape::unescape(text).map(Bytes::from)
}

/// The name of a tree on the command line, with the escapes of `escape`.
pub(crate) fn parse_tree(text: &str) -> Result<String, String> {
    String::from_utf8(escape::unescape(text)?).map_err(|_| "names of trees are UTF-8".to_owned())
}

/// Opens the store at `dir` without changing it.
pub(crate) fn open_to_read(dir: &Path) -> Outcome<Db> {
    exists(dir)?;
    open(Db::builder(dir).read_only(true).create(false), dir)
}

/// Opens a store that is there already, to change it.
pub(crate) fn open_to_change(dir: &Path) -> Outcome<Db> {
    exists(dir)?;
    open(Db::builder(dir).create(false), dir)
}

/// Opens with these options. An error that does not name the folder itself gets its name.
pub(crate) fn open(builder: Builder, dir: &Path) -> Outcome<Db> {
    let dir = dir.display().to_string();
    builder.open().map_err(|error| {
        Failure::from(error).map_text(|text| {
            if text.contains(&dir) { text } else { format!("cannot open the store {dir}: {text}") }
        })
    })
}

fn exists(dir: &Path) -> Outcome {
    let found = std::fs::metadata(dir);
    let dir = dir.display();
    match found {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => {
            let text = format!("{dir} is a file; name the folder of a store");
            Err(Failure::of(Kind::NotFound, text))
        }
        Err(error) => {
            let text =
                format!("no store at {dir} ({error}); make one with bwtree put, load or replay");
            Err(Failure::of(Kind::NotFound, text))
        }
    }
}

/// A tree that is there already.
pub(crate) fn find_tree(db: &Db, dir: &Path, name: &str) -> Outcome<Tree> {
    db.find_tree(name)?.ok_or_else(|| {
        let dir = dir.display();
        Failure::of(Kind::NotFound, format!("no tree {name} in {dir}; see bwtree trees {dir}"))
    })
}

/// Opens a tree of a store to read. The store stays open as long as the first value lives.
pub(crate) fn tree_to_read(place: &Place) -> Outcome<(Db, Tree)> {
    let db = open_to_read(&place.dir)?;
    let tree = find_tree(&db, &place.dir, &place.tree)?;
    Ok((db, tree))
}

/// A range of keys.
pub(crate) type Bounds = (Bound<Bytes>, Bound<Bytes>);

/// The keys from `from` (included) to `to` (excluded) that begin with `prefix`.
fn bounds(from: Option<&Bytes>, to: Option<&Bytes>, prefix: Option<&Bytes>) -> Bounds {
    let first = from.into_iter().chain(prefix).max();
    let after_prefix = prefix.and_then(|prefix| after_prefix(prefix));
    let end = to.into_iter().chain(after_prefix.as_ref()).min();
    (
        first.map_or(Bound::Unbounded, |key| Bound::Included(key.clone())),
        end.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone())),
    )
}

/// Whether no key can be in the range.
pub(crate) fn is_empty(bounds: &Bounds) -> bool {
    match bounds {
        (Bound::Included(first), Bound::Excluded(end)) => first >= end,
        _ => false,
    }
}

/// The first key after all keys that begin with `prefix`; none when they reach the end.
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &'static [u8]) -> Bytes {
        Bytes::from_static(text)
    }

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(after_prefix(b"ab"), Some(key(b"ac")));
        assert_eq!(after_prefix(b"a\xff\xff"), Some(key(b"b")));
        assert_eq!(after_prefix(b"\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }

    #[test]
    fn bounds_are_the_tightest_given() {
        let (from, to, prefix) = (key(b"abc"), key(b"az"), key(b"ab"));
        let got = bounds(Some(&from), Some(&to), Some(&prefix));
        assert_eq!(got, (Bound::Included(from.clone()), Bound::Excluded(key(b"ac"))));
        assert!(!is_empty(&got));
        assert!(is_empty(&bounds(Some(&to), Some(&from), None)));
        assert_eq!(bounds(None, None, None), (Bound::Unbounded, Bound::Unbounded));
    }
}
