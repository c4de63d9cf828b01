//! Plain text tables: the first column to the left, the others to the right, every cell as wide as
//! its column.

#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<String>),
    Rule,
}

impl Table {
    pub(crate) fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Self {
        let mut table = Self::default();
        table.row(header);
        table.rule();
        table
    }

    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(Row::Cells(cells.into_iter().map(Into::into).collect()));
    }

    /// A horizontal line under what was added so far.
    pub(crate) fn rule(&mut self) {
        self.rows.push(Row::Rule);
    }

    /// The table as lines, each ended by a newline, with `indent` spaces before them.
    pub(crate) fn render(&self, indent: usize) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<String> = match row {
                Row::Rule => widths.iter().map(|&width| "-".repeat(width)).collect(),
                Row::Cells(cells) => (widths.iter().enumerate())
                    .map(|(i, &width)| pad(cells.get(i).map_or("", String::as_str), width, i > 0))
                    .collect(),
            };
            text.push_str(&" ".repeat(indent));
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            let Row::Cells(cells) = row else { continue };
            for (i, cell) in cells.iter().enumerate() {
                let width = cell.chars().count();
                match widths.get_mut(i) {
                    Some(known) => *known = width.max(*known),
                    None => widths.push(width),
                }
            }
        }
        widths
    }
}

fn pad(cell: &str, width: usize, right: bool) -> String {
    if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["", "log", "bwtree"]);
        table.row(["disk, peak", "948.2 MiB", "22 MiB"]);
        table.row(["puts", "7"]);
        let want = concat!(
            "                  log  bwtree\n",
            "----------  ---------  ------\n",
            "disk, peak  948.2 MiB  22 MiB\n",
            "puts                7\n",
        );
        assert_eq!(table.render(0), want);
        assert!(table.render(2).lines().all(|line| line.starts_with("  ")));
    }

    #[test]
    fn an_empty_table_is_empty() {
        assert_eq!(Table::default().render(4), "");
    }
}
