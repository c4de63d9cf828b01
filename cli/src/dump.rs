//! `bwtree dump`: one tree, or all of them, as text that `bwtree load` takes.

use crate::failure::Outcome;
use crate::out::{self, Format, Out, Unit};
use crate::record::{self, Lines};
use crate::store;
use bwtree::{Db, Tree};
use indicatif::ProgressBar;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

/// Print all trees, or one of them, in the order of the keys
///
/// Without --tree every tree begins with a line that names it, and bwtree load takes the lines
/// behind it into a tree of that name.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the store
    dir: PathBuf,
    /// Only this tree, without a line that names it; \\ \t \n \r \xNN stand for bytes
    #[arg(long, value_name = "NAME", value_parser = store::parse_tree)]
    tree: Option<String>,
    /// The form of the lines (default: tsv, with --json ndjson)
    #[arg(long, value_enum)]
    format: Option<Lines>,
    #[command(flatten)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let default = if args.output.json { Lines::Ndjson } else { Lines::Tsv };
    let lines = args.format.unwrap_or(default);
    let db = store::open_to_read(&args.dir)?;
    let trees = match &args.tree {
        Some(name) => vec![store::find_tree(&db, &args.dir, name)?],
        None => all(&db)?,
    };
    let mut out = Out::new();
    // On a terminal the lines themselves are the progress.
    let bar = if io::stdout().is_terminal() {
        ProgressBar::hidden()
    } else {
        // About: to count what was written without being read would be to read it twice.
        let dumped = |name: &str| trees.iter().any(|tree| tree.name() == name);
        let known = db.stats().trees.into_iter().filter(|tree| dumped(&tree.name));
        let entries = known.map(|tree| tree.entries).sum();
        out::progress(Some(entries), "dumping", Unit::Of("entries"))
    };
    for tree in &trees {
        if args.tree.is_none() {
            record::write_tree(&mut out, lines, tree.name())?;
        }
        for entry in tree {
            let (key, value) = entry?;
            record::write(&mut out, lines, &key, &value)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    out.finish()
}

fn all(db: &Db) -> Outcome<Vec<Tree>> {
    let mut trees = Vec::new();
    for name in db.tree_names()? {
        trees.extend(db.find_tree(&name)?);
    }
    Ok(trees)
}
