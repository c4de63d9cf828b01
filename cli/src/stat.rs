//! `bwtree stat`: what a store holds, and what it has done since this program opened it.

use crate::escape::escape;
use crate::failure::Outcome;
use crate::numbers::{bytes, count, ratio};
use crate::out::{self, Format};
use crate::process;
use crate::store;
use crate::table::Table;
use bwtree::Stats;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Print what a store holds, and the counters of this opening
///
/// Counters live as long as a store is open: what an earlier program wrote, synced or cleaned is
/// not in them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the store
    dir: PathBuf,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let db = store::open_to_read(&args.dir)?;
    // From here on their entries are counted, and not about: a store that was written without being
    // read is read for that.
    for name in db.tree_names()? {
        let _entries = db.find_tree(&name)?.map(|tree| tree.len());
    }
    let stats = db.stats();
    let allocated = process::disk_bytes(&args.dir);
    out::answer(args.format, &to_json(&stats, allocated), || text(&stats, allocated))
}

fn entries(stats: &Stats) -> u64 {
    stats.trees.iter().map(|tree| tree.entries).sum()
}

fn depth(stats: &Stats) -> u32 {
    stats.trees.iter().map(|tree| tree.depth).max().unwrap_or(0)
}

fn to_json(stats: &Stats, allocated: u64) -> Value {
    let trees: Vec<Value> = (stats.trees.iter())
        .map(|tree| {
            json!({ "name": tree.name, "entries": tree.entries, "pages": tree.pages,
            "depth": tree.depth })
        })
        .collect();
    json!({
        "trees": trees,
        "store": {
            "entries": entries(stats),
            "pages": stats.pages,
            "depth": depth(stats),
            "live_bytes": stats.live_bytes,
            "disk_bytes": stats.disk_bytes,
            "disk_allocated_bytes": allocated,
            "dead_bytes": stats.dead_bytes,
            "segments": stats.segments,
            "readers": stats.readers,
            "held_bytes": stats.held_bytes,
            "durable_version": stats.durable_version,
        },
        "since_opening": {
            "bytes_written": stats.bytes_written,
            "user_bytes_written": stats.user_bytes_written,
            "cleaning_bytes_written": stats.cleaning_bytes_written,
            "syncs": stats.syncs,
            "commits": stats.commits,
            "checkpoints": stats.checkpoints,
            "consolidations": stats.consolidations,
            "splits": stats.splits,
            "merges": stats.merges,
            "evictions": stats.evictions,
            "page_ins": stats.page_ins,
            "damaged_pages": stats.damaged_pages,
            "resident_pages": stats.resident_pages,
            "memory": {
                "budget": stats.memory.budget,
                "pages": stats.memory.pages,
                "table": stats.memory.table,
                "values": stats.memory.values,
                "log": stats.memory.log,
                "total": stats.memory.total,
            },
        },
    })
}

fn text(stats: &Stats, allocated: u64) -> String {
    let mut trees = Table::new(["tree", "entries", "pages", "depth"]);
    for tree in &stats.trees {
        trees.row([
            escape(tree.name.as_bytes()),
            count(tree.entries),
            count(tree.pages),
            count(u64::from(tree.depth)),
        ]);
    }
    let mut store = Table::default();
    store.row(["entries".to_owned(), count(entries(stats))]);
    store.row(["pages, with the catalog's".to_owned(), count(stats.pages)]);
    store.row(["depth, the most".to_owned(), depth(stats).to_string()]);
    store.row(["live".to_owned(), bytes(stats.live_bytes)]);
    store.row(["disk, allocated".to_owned(), bytes(allocated)]);
    store.row(["disk / live".to_owned(), ratio(allocated, stats.live_bytes)]);
    store.row(["dead, not yet cleaned".to_owned(), bytes(stats.dead_bytes)]);
    store.row(["segments".to_owned(), count(stats.segments)]);
    store.row(["readers beside this".to_owned(), count(stats.readers)]);
    store.row(["held for them".to_owned(), bytes(stats.held_bytes)]);
    store.row(["durable version".to_owned(), stats.durable_version.to_string()]);
    let mut opening = Table::default();
    opening.row(["pages in memory".to_owned(), count(stats.resident_pages)]);
    opening.row(["pages read".to_owned(), count(stats.page_ins)]);
    opening.row(["damaged pages met".to_owned(), count(stats.damaged_pages)]);
    opening.row(["memory".to_owned(), bytes(stats.memory.total)]);
    opening.row(["memory budget".to_owned(), bytes(stats.memory.budget)]);
    format!(
        "{}\nthe store\n{}\nthis opening, which only reads\n{}",
        trees.render(0),
        store.render(2),
        opening.render(2)
    )
}
