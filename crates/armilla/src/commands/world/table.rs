//! Tables for the terminal.

/// Rows of cells in columns as wide as their widest; the first column stands left, the others right.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        let cells = all().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}

/// A number with so many decimals, a dash for none.
pub(super) fn cell(value: Option<f64>, decimals: usize) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.decimals$}"),
        Some(value) if value == f64::INFINITY => "inf".to_owned(),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["agent_x".to_owned(), cell(Some(0.5), 2)],
            vec!["b".to_owned(), cell(None, 2)],
        ];
        assert_eq!(
            table(&["", "r"], &rows),
            ["            r", "agent_x  0.50", "b           -"]
        );
        assert_eq!(
            (cell(Some(f64::NAN), 1), cell(Some(f64::INFINITY), 1)),
            ("-".into(), "inf".into())
        );
    }
}
