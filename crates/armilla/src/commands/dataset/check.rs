//! `armilla dataset check`: metadata against frame tables against videos.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use armilla_data::{CheckOptions, CheckReport, Severity, check};
use clap::Args;
use serde_json::{Value, json};

use super::with_progress;
use crate::progress::{print, say};

/// Arguments of `dataset check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// The dataset's folder; nothing in it is changed.
    pub dataset: PathBuf,
    /// Leave the pictures undecoded: lengths, times and files only.
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Runs `armilla dataset check`; what is found makes it fail.
pub(super) fn run(arguments: &CheckArguments) -> Result<()> {
    let options = CheckOptions {
        decode: !arguments.quick,
    };
    let report = with_progress("check", "episodes and cameras", |progress| {
        check(&arguments.dataset, options, progress)
    })?;
    if arguments.json {
        let report = to_json(&arguments.dataset, &report);
        print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        for finding in &report.findings {
            print(&finding.to_string())?;
        }
        report
            .notes
            .iter()
            .for_each(|note| say(&format!("note: {note}")));
    }
    let root = arguments.dataset.display();
    if !report.findings.is_empty() {
        let count = |severity, name: &str| match count(&report, severity) {
            1 => format!("1 {name}"),
            count => format!("{count} {name}s"),
        };
        let errors = count(Severity::Error, "error");
        let warnings = count(Severity::Warning, "warning");
        bail!("{root}: {errors}, {warnings}");
    }
    if !arguments.json {
        let (episodes, frames) = (report.episodes, report.frames);
        print(&format!(
            "{root}: {episodes} episodes, {frames} frames, nothing wrong"
        ))?;
    }
    Ok(())
}

fn count(report: &CheckReport, severity: Severity) -> usize {
    let findings = report.findings.iter();
    findings
        .filter(|finding| finding.severity == severity)
        .count()
}

fn to_json(root: &Path, report: &CheckReport) -> Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "severity": finding.severity.name(),
            "file": finding.file,
            "episodes": finding.episodes,
            "problem": finding.problem,
            "remedy": finding.remedy,
        })
    });
    json!({
        "path": root,
        "episodes": report.episodes,
        "frames": report.frames,
        "errors": count(report, Severity::Error),
        "warnings": count(report, Severity::Warning),
        "findings": findings.collect::<Vec<_>>(),
        "notes": report.notes,
    })
}
