//! Tables as istioctl prints them: columns as wide as their widest cell, spaces between.

use std::fmt;

/// A table that is filled row by row.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    padding: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and so many spaces between columns.
    pub(crate) fn new<const N: usize>(headings: [&str; N], padding: usize) -> Self {
        Self {
            padding,
            rows: vec![headings.map(str::to_owned).to_vec()],
        }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let padded = width + self.padding;
                line.push_str(&format!("{cell:<padded$}"));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        let mut table = Table::new(["NAME", "PORT"], 5);
        table.row(["a".to_owned(), "80".to_owned()]);
        table.row(["longer".to_owned(), String::new()]);
        assert_eq!(
            table.to_string(),
            "NAME       PORT\na          80\nlonger\n"
        );
    }
}
