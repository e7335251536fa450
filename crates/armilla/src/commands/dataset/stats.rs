//! `armilla dataset stats`: the statistics as a table, and counting them anew.

use std::path::PathBuf;

use anyhow::Result;
use armilla_core::FeatureStatistics;
use armilla_data::{AUTOMATIC, Dataset, recount};
use clap::Args;
use serde_json::{Map, Value, json};

use super::{target, with_progress};
use crate::progress::{print, say};

/// Arguments of `dataset stats`.
#[derive(Args, Debug)]
pub(crate) struct StatsArguments {
    /// The dataset's folder.
    pub dataset: PathBuf,
    /// Count the statistics of all episodes anew, every frame of every camera.
    #[arg(long, requires = "place")]
    pub recount: bool,
    /// Folder of the dataset with the new statistics; must not exist.
    #[arg(long, group = "place", requires = "recount")]
    pub out: Option<PathBuf>,
    /// Replace the dataset: the new one is written beside it, then takes its place in one step.
    #[arg(long, group = "place", requires = "recount")]
    pub in_place: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Runs `armilla dataset stats`.
pub(super) fn run(arguments: &StatsArguments) -> Result<()> {
    let mut dataset = match arguments.recount {
        true => Dataset::open_to_recount(&arguments.dataset)?,
        false => Dataset::open(&arguments.dataset)?,
    };
    if arguments.recount {
        let target = target(arguments.out.as_ref(), &arguments.dataset);
        with_progress("recount", "episodes (counted, then written)", |progress| {
            recount(&dataset, &target, progress)
        })?;
        say(&format!("{}: counted anew", target.folder().display()));
        dataset = Dataset::open(target.folder())?;
    }
    if arguments.json {
        return Ok(print(&serde_json::to_string_pretty(&to_json(&dataset))?)?);
    }
    for table in tables(&dataset) {
        print(&table.title)?;
        table.lines().iter().try_for_each(|line| print(line))?;
    }
    Ok(())
}

/// A statistic of a feature, by its name.
type Statistic = (&'static str, fn(&FeatureStatistics) -> &Vec<f64>);

/// In the order of the columns.
const COLUMNS: [Statistic; 9] = [
    ("mean", |found| &found.mean),
    ("std", |found| &found.std),
    ("min", |found| &found.min),
    ("q01", |found| &found.q01),
    ("q10", |found| &found.q10),
    ("q50", |found| &found.q50),
    ("q90", |found| &found.q90),
    ("q99", |found| &found.q99),
    ("max", |found| &found.max),
];

/// The statistics of one feature, a line an element.
pub(super) struct Table {
    /// The feature, its type and how much of it was counted.
    pub title: String,
    /// Names of the elements' column and of the statistics.
    pub header: Vec<String>,
    /// An element's name and its statistics.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Aligned lines.
    fn lines(&self) -> Vec<String> {
        let all = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column: usize| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<_> = (0..self.header.len())
            .map(|column| width(column).unwrap_or(0))
            .collect();
        let line = |row: &Vec<String>| {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| match column {
                    0 => format!("  {cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                });
            cells.collect::<String>()
        };
        all().map(line).collect()
    }
}

/// The tables of all features that have statistics.
pub(super) fn tables(dataset: &Dataset) -> Vec<Table> {
    let features = dataset.features().0.iter();
    let known = features.filter_map(|(key, feature)| {
        let found = dataset.statistics().get(key)?;
        let dtype = feature.data_type.name();
        let title = format!("{key}: {dtype} {:?}, {} frames", feature.shape, found.count);
        let names = match feature.data_type.is_picture() {
            true => ["red", "green", "blue"].map(str::to_owned).to_vec(),
            false => feature.names.clone(),
        };
        Some(table(title, &names, found))
    });
    let automatic = AUTOMATIC.iter().filter_map(|key| {
        let found = dataset.statistics().get(*key)?;
        let title = format!("{key}, {} frames", found.count);
        Some(table(title, &[], found))
    });
    known.chain(automatic).collect()
}

fn table(title: String, names: &[String], found: &FeatureStatistics) -> Table {
    let columns: Vec<_> = COLUMNS
        .iter()
        .filter(|(_, values)| !values(found).is_empty())
        .collect();
    let header = std::iter::once("").chain(columns.iter().map(|(name, _)| *name));
    let row = |element: usize| {
        let name = names
            .get(element)
            .cloned()
            .unwrap_or_else(|| element.to_string());
        let values = columns
            .iter()
            .map(|(_, values)| values(found).get(element).copied());
        let values = values.map(|value| value.map_or_else(String::new, number));
        std::iter::once(name).chain(values).collect()
    };
    Table {
        title,
        header: header.map(str::to_owned).collect(),
        rows: (0..found.mean.len()).map(row).collect(),
    }
}

/// About five digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || (1e-3..1e5).contains(&size) => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}

/// All statistics by feature, as `meta/stats.json` names them.
fn to_json(dataset: &Dataset) -> Value {
    let features = dataset
        .statistics()
        .iter()
        .map(|(key, found)| (key.clone(), feature_json(found)));
    Value::Object(features.collect())
}

/// One feature's statistics.
pub(super) fn feature_json(found: &FeatureStatistics) -> Value {
    let mut entry = Map::new();
    entry.insert("count".to_owned(), json!(found.count));
    for (name, values) in COLUMNS {
        entry.insert(name.to_owned(), json!(values(found)));
    }
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec![0.5, 123_456.0], vec![1.5, 0.0]];
        let found = FeatureStatistics::of_rows(&rows, 2).unwrap();
        let lines = table("action".to_owned(), &["dx".to_owned()], &found).lines();
        assert_eq!(lines.len(), 3);
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() == lines[0].chars().count()),
            "{lines:?}"
        );
        assert!(
            lines[0].contains("mean")
                && lines[1].starts_with("  dx  ")
                && lines[1].contains("  1.0000  "),
            "{lines:?}"
        );
        assert!(
            lines[2].starts_with("  1 ") && lines[2].contains("1.235e5"),
            "{lines:?}"
        );
    }
}
