//! Medians, tables and complaints.

use std::io::{self, Write};
use std::path::Path;

/// The middle one of some figures; of an even number, the mean of the two in the middle.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let upper = figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN);
    match figures.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => f64::midpoint(figures[length / 2 - 1], upper),
        _ => upper,
    }
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

/// One line on stdout.
pub(crate) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// One line on stderr.
pub(crate) fn complain(what: &str) -> io::Result<()> {
    writeln!(io::stderr(), "bwtree-compare: {what}")
}

/// Writes a file as a whole.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        let is = |figures: &[f64], middle: f64| median(figures.to_vec()).total_cmp(&middle).is_eq();
        assert!(is(&[9.0, 1.0, 2.0], 2.0));
        assert!(is(&[4.0, 1.0, 2.0, 100.0], 3.0));
        assert!(is(&[7.0], 7.0));
        assert!(median(Vec::new()).is_nan());
    }
}
