//! Medians, tables and complaints.

use std::io::{self, Write};

/// The middle one of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints rows of cells in aligned columns.
pub(crate) fn table(rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut out = io::stdout().lock();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let width = widths[at];
            if at == 0 {
                write!(out, "{cell:<width$}")?;
            } else {
                write!(out, "  {cell:>width$}")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// One line on stderr.
pub(crate) fn complain(what: &str) -> io::Result<()> {
    writeln!(io::stderr(), "bwtree-compare: {what}")
}
