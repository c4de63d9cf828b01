//! `bwtree stat`: what a store says of itself.

use crate::failure::Outcome;
use crate::numbers::{bytes, count, ratio};
use crate::out::{self, Format};
use crate::process;
use crate::store;
use crate::table::Table;
use bwtree::Stats;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Print the sizes and counters of a store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the store
    dir: PathBuf,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let db = store::open_to_read(&args.dir)?;
    let stats = db.stats();
    let allocated = process::disk_bytes(&args.dir);
    out::answer(args.format, &to_json(&stats, allocated), || text(&stats, allocated))
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
        "pages": stats.pages,
        "resident_pages": stats.resident_pages,
        "live_bytes": stats.live_bytes,
        "disk_bytes": stats.disk_bytes,
        "disk_allocated_bytes": allocated,
        "dead_bytes": stats.dead_bytes,
        "segments": stats.segments,
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
        "durable_version": stats.durable_version,
        "memory": {
            "budget": stats.memory.budget,
            "pages": stats.memory.pages,
            "table": stats.memory.table,
            "values": stats.memory.values,
            "total": stats.memory.total,
        },
    })
}

fn text(stats: &Stats, allocated: u64) -> String {
    let mut trees = Table::new(["tree", "entries", "pages", "depth"]);
    for tree in &stats.trees {
        trees.row([
            tree.name.clone(),
            count(tree.entries),
            count(tree.pages),
            count(u64::from(tree.depth)),
        ]);
    }
    let mut sizes = Table::default();
    sizes.row(["pages".to_owned(), count(stats.pages)]);
    sizes.row(["live".to_owned(), bytes(stats.live_bytes)]);
    sizes.row(["disk, allocated".to_owned(), bytes(allocated)]);
    sizes.row(["disk / live".to_owned(), ratio(allocated, stats.live_bytes)]);
    sizes.row(["dead, not yet cleaned".to_owned(), bytes(stats.dead_bytes)]);
    sizes.row(["segments".to_owned(), count(stats.segments)]);
    sizes.row(["checkpoints".to_owned(), count(stats.checkpoints)]);
    sizes.row(["durable version".to_owned(), stats.durable_version.to_string()]);
    sizes.row(["memory".to_owned(), bytes(stats.memory.total)]);
    sizes.row(["memory budget".to_owned(), bytes(stats.memory.budget)]);
    format!("{}\n{}", trees.render(0), sizes.render(0))
}
