//! An evaluation to look at: in Rerun and as a page of HTML.

use anyhow::Result;
use armilla_core::Observation;
use armilla_imagine::Trace;
use armilla_nn::checkpoint::write_atomically;
use armilla_viz::filmstrip::{FilmRow, Filmstrip};
use armilla_viz::{Recording, ReportData, render};

use crate::cli::EvalArguments;
use crate::commands::report::page_row;
use crate::commands::viz::{self, Shown};
use crate::progress::say;
use crate::results::ResultRow;

/// Pictures of an episode on a page.
const PICTURES: usize = 10;

/// Writes what was asked for.
pub(super) fn write(arguments: &EvalArguments, rows: &[ResultRow], shown: &[Shown]) -> Result<()> {
    if let Some(path) = &arguments.rerun {
        let mut recording = Recording::create(path)?;
        for shown in shown {
            viz::log_traces(&mut recording, shown)?;
        }
        for row in rows {
            recording.rates(&page_row(row))?;
        }
        recording.results(&format!("```\n{}\n```", lines(rows).join("\n")))?;
        let megabytes = recording.finish()? as f64 / 1e6;
        say(&format!("{} ({megabytes:.1} MB)", path.display()));
    }
    if let Some(path) = &arguments.report {
        let page = render(&page(arguments, rows, shown))?;
        write_atomically(path, page.as_bytes())?;
        say(&format!("written to {}", path.display()));
    }
    Ok(())
}

fn lines(rows: &[ResultRow]) -> Vec<String> {
    rows.iter().flat_map(ResultRow::lines).collect()
}

fn page(arguments: &EvalArguments, rows: &[ResultRow], shown: &[Shown]) -> ReportData {
    let strips = shown.iter().flat_map(|shown| {
        let protocol = &shown.environment.protocol;
        shown.traces.iter().map(move |trace| strip(protocol, trace))
    });
    ReportData {
        title: format!("{} {}", arguments.env, arguments.protocol),
        summary: "Success on episodes that nothing was learnt from, with its 95 % interval and the floors on the same episodes."
            .to_owned(),
        results: rows.iter().map(page_row).collect(),
        episodes: strips.collect(),
        lines: lines(rows),
        ..ReportData::default()
    }
}

/// An episode from its first picture to its last, the goal's beside them if there is one.
fn strip(protocol: &str, trace: &Trace) -> Filmstrip {
    let last = trace.observations.len().saturating_sub(1);
    let count = PICTURES.min(last + 1);
    let steps: Vec<_> = (0..count)
        .map(|at| at * last / (count - 1).max(1))
        .collect();
    let seen = steps
        .iter()
        .filter_map(|&step| trace.observations.get(step));
    let seen = seen.filter_map(Observation::first_image).cloned();
    let mut rows = vec![FilmRow {
        label: "seen".to_owned(),
        images: seen.collect(),
    }];
    let first = trace.observations.first();
    let goal = first.and_then(|first| first.goal.as_ref());
    let goal = goal.and_then(|goal| goal.images.values().next());
    rows.extend(goal.map(|goal| FilmRow {
        label: "goal".to_owned(),
        images: vec![goal.clone()],
    }));
    let ended = match trace.success.contains(&true) {
        true => "solved",
        false => "not solved",
    };
    Filmstrip {
        title: format!("{protocol}, seed {}: {ended}", trace.seed),
        caption: first
            .and_then(|first| first.instruction.clone())
            .unwrap_or_default(),
        columns: steps.iter().map(usize::to_string).collect(),
        rows,
    }
}
