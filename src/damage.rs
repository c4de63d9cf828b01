//! What is damaged: which keys of which tree, where it lies, and what to do about it.

use core::fmt;

/// Something in a store that cannot be read as it was written, or is not what it should be.
///
/// Mostly a leaf: its keys can be neither read nor written, and nothing else is concerned.
/// [`Tree::remove_range`](crate::Tree::remove_range) over all of its keys, or
/// [`clear`](crate::Tree::clear), gives them up and makes room for new ones;
/// [`Db::drop_tree`](crate::Db::drop_tree) works whatever is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The tree; empty if it is not known.
    pub tree: String,
    /// The first key that is concerned; `None` if it is not known which are.
    pub first: Option<Vec<u8>>,
    /// The first key behind them; `None` if they reach to the end of the tree.
    pub end: Option<Vec<u8>>,
    /// The damaged file; `None` if no file is to blame.
    pub file: Option<String>,
    /// Where in the file, if that is known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// The page.
    pub(crate) page: u32,
}

impl Damage {
    /// The page.
    pub(crate) fn page(&self) -> types::PageId {
        types::PageId::new(self.page)
    }

    /// Whether giving up all keys from `first` up to `end` helps.
    fn is_of_keys(&self) -> bool {
        self.first.is_some() && self.file.is_some() && !self.is_of_catalog()
    }

    fn is_of_catalog(&self) -> bool {
        [CATALOG_NAME, CATALOG_COPY_NAME].contains(&self.tree.as_str())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place { file: self.file.as_deref(), offset: self.offset };
        let what = &self.what;
        match (&self.first, self.tree.as_str()) {
            (_, "") => write!(f, "{place}{what}"),
            (None, tree) => write!(f, "tree {tree:?}: {place}{what}"),
            (Some(first), tree) => {
                let (first, end) = (first.escape_ascii(), self.end.as_ref());
                write!(f, "tree {tree:?}, keys from \"{first}\" ")?;
                match end {
                    Some(end) => write!(f, "up to \"{}\": ", end.escape_ascii())?,
                    None => f.write_str("on: ")?,
                }
                write!(f, "{place}{what}")
            }
        }
    }
}

/// Where the damage lies, in front of what it is.
struct Place<'a> {
    file: Option<&'a str>,
    offset: Option<u64>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file, self.offset) {
            (Some(file), Some(offset)) => write!(f, "{file} is damaged at offset {offset}: "),
            (Some(file), None) => write!(f, "{file} is damaged: "),
            (None, _) => Ok(()),
        }
    }
}

/// What the catalog and its copy are called where the name of a tree is told.
pub(crate) const CATALOG_NAME: &str = "the catalog";
pub(crate) const CATALOG_COPY_NAME: &str = "the catalog's copy";

/// How many are told in a line.
const TOLD: usize = 4;

/// All that was found, in one line, and what to do about it.
pub(crate) fn tell(found: &[Damage], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, damage) in found.iter().take(TOLD).enumerate() {
        let between = if at > 0 { "; " } else { "" };
        write!(f, "{between}{damage}")?;
    }
    if found.len() > TOLD {
        write!(f, "; and {} more", found.len() - TOLD)?;
    }
    if found.iter().any(Damage::is_of_keys) {
        f.write_str("; give these keys up by remove_range over all of them, or")?;
    } else {
        f.write_str(";")?;
    }
    if found.iter().any(Damage::is_of_catalog) {
        f.write_str(" open the store for writing, which mends its catalog from the copy, or")?;
    }
    f.write_str(" restore the store from a copy")
}
