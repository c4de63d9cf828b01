//! What is damaged: which keys of which tree, where it lies, and what to do about it.

use crate::db::ByteRange;
use crate::error::Error;
use core::fmt;
use core::ops::Bound;

/// Something in a store that cannot be read as it was written, or is not what it should be.
///
/// Mostly a leaf: its keys can be neither read nor written, and nothing else is concerned.
/// [`Tree::remove_range`](crate::Tree::remove_range) over all of its [`keys`](Self::keys), or
/// [`clear`](crate::Tree::clear), gives them up and makes room for new ones;
/// [`Db::drop_tree`](crate::Db::drop_tree) works whatever is damaged.
///
/// ```
/// use bwtree::{Db, Error, Result};
///
/// /// Gives up all that can't be read, and nothing else.
/// fn give_up_what_is_damaged(db: &Db) -> Result<()> {
///     let Err(Error::Damaged { found }) = db.verify() else { return Ok(()) };
///     for damage in found.iter() {
///         if let Some(keys) = &damage.keys {
///             db.tree(&damage.tree)?.remove_range(keys)?;
///         }
///     }
///     db.verify().map(drop)
/// }
/// # fn main() -> Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # give_up_what_is_damaged(&Db::open(dir.path().join("store"))?)
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The tree; empty if it is not known.
    pub tree: String,
    /// The keys that are concerned; `None` if it is not known which are, or if none is that a user
    /// can write.
    pub keys: Option<KeyRange>,
    /// The damaged file; `None` if no file is to blame.
    pub file: Option<String>,
    /// Where in the file, if that is known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// The page.
    pub(crate) page: u32,
    /// Whether it is of the catalog or of its copy, which no user can write to.
    pub(crate) is_of_catalog: bool,
    /// What helps, besides that its keys are given up.
    pub(crate) remedy: Remedy,
}

/// What helps against damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nothing that is known.
    Unknown,
    /// A cleaning.
    Cleaning,
    /// A check of an open store.
    Check,
    /// Nothing is lost by it, and the check that has found it has mended it.
    Mended,
}

/// Keys of a tree that follow one another. What takes a range of keys takes a reference to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyRange {
    /// The first key.
    pub first: Vec<u8>,
    /// The first key behind them; `None` if they reach to the end of the tree.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Whether the key is one of these.
    pub fn contains(&self, key: impl AsRef<[u8]>) -> bool {
        let key = key.as_ref();
        *self.first <= *key && self.end.as_ref().is_none_or(|end| *key < **end)
    }
}

impl ByteRange for KeyRange {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = self.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        (Bound::Included(&self.first), end)
    }
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys from \"{}\" ", self.first.escape_ascii())?;
        match &self.end {
            Some(end) => write!(f, "up to \"{}\"", end.escape_ascii()),
            None => f.write_str("on"),
        }
    }
}

impl Damage {
    /// The page.
    pub(crate) fn page(&self) -> types::PageId {
        types::PageId::new(self.page)
    }

    /// With the keys that it concerns, unless it is of the catalog.
    pub(crate) fn with_keys(self, first: Vec<u8>, end: Option<Vec<u8>>) -> Self {
        let keys = (!self.is_of_catalog).then_some(KeyRange { first, end });
        Self { keys, ..self }
    }

    /// Whether giving up all of its keys helps.
    fn is_of_keys(&self) -> bool {
        self.keys.is_some() && self.file.is_some()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place { file: self.file.as_deref(), offset: self.offset };
        let what = &self.what;
        match (&self.keys, self.tree.as_str()) {
            (_, "") => write!(f, "{place}{what}"),
            (None, tree) => write!(f, "tree {tree:?}: {place}{what}"),
            (Some(keys), tree) => write!(f, "tree {tree:?}, {keys}: {place}{what}"),
        }
    }
}

impl Error {
    /// The same, of a store that cannot be opened: nothing helps but a copy.
    pub(crate) fn of_opening(self) -> Self {
        let Self::Damaged { found } = self else { return self };
        let damage = |damage: &Damage| Damage { remedy: Remedy::Unknown, ..damage.clone() };
        Self::Damaged { found: found.iter().map(damage).collect() }
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
    if found.iter().all(|damage| damage.remedy == Remedy::Mended) {
        return f.write_str("; nothing is lost by that, and it is mended: check the store again");
    }
    f.write_str(";")?;
    let remedies = [
        (
            found.iter().any(Damage::is_of_keys),
            "give these keys up by remove_range over all of them",
        ),
        (
            found.iter().any(|damage| damage.remedy == Remedy::Check),
            "check the store while it is open to write, which mends its catalog",
        ),
        (
            found.iter().any(|damage| damage.remedy == Remedy::Cleaning),
            "clean it, which gives back what nothing leads to",
        ),
    ];
    for (_, remedy) in remedies.iter().filter(|(helps, _)| *helps) {
        write!(f, " {remedy}, or")?;
    }
    f.write_str(" restore the store from a copy")
}
