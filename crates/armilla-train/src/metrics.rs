//! `metrics.jsonl`: one line of JSON for each logged step.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, file_error};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// Steps done.
    pub step: u64,
    /// The loss of this step.
    pub loss: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The norm of the gradient of this step, before clipping.
    pub grad_norm: f64,
    /// Seconds of training so far, those before resuming included.
    pub seconds: f64,
    /// What the model reports beside the loss, by name.
    pub figures: BTreeMap<String, f64>,
}

/// Reads a run's metrics in order of their steps. A last line that was cut off is left out.
///
/// # Errors
///
/// If the file cannot be read, or another line is not one of metrics.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsLine>> {
    let text = std::fs::read_to_string(path).map_err(file_error("read", path))?;
    let mut lines = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str(line) {
            Ok(metrics) => lines.push(metrics),
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => {
                return Err(Error::Malformed {
                    path: path.to_path_buf(),
                    reason: format!("line {}: {error}", index + 1),
                    remedy: "put the line right, or remove it",
                });
            }
        }
    }
    Ok(lines)
}

/// Appends lines.
#[derive(Debug)]
pub(crate) struct MetricsWriter {
    path: PathBuf,
    file: File,
}

impl MetricsWriter {
    /// Opens the file and drops what was logged after `step`, from which a run resumes.
    pub(crate) fn resume(path: &Path, step: u64) -> Result<Self> {
        let kept = match path.exists() {
            true => read_metrics(path)?,
            false => Vec::new(),
        };
        let mut text = String::new();
        for line in kept.iter().filter(|line| line.step <= step) {
            text.push_str(&encode(path, line)?);
        }
        armilla_nn::checkpoint::write_atomically(path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path);
        Ok(Self {
            file: file.map_err(file_error("open", path))?,
            path: path.to_path_buf(),
        })
    }

    /// Appends one line, so that a reader sees it at once.
    pub(crate) fn append(&mut self, line: &MetricsLine) -> Result<()> {
        let text = encode(&self.path, line)?;
        let written = self.file.write_all(text.as_bytes());
        written.map_err(file_error("write", &self.path))
    }
}

fn encode(path: &Path, line: &MetricsLine) -> Result<String> {
    let json = serde_json::to_string(line).map_err(|error| Error::Malformed {
        path: path.to_path_buf(),
        reason: error.to_string(),
        remedy: "such a figure cannot be kept",
    })?;
    Ok(json + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> MetricsLine {
        MetricsLine {
            step,
            loss: 0.1 + 0.2,
            learning_rate: 1e-4,
            grad_norm: 1.5,
            seconds: 0.25,
            figures: [("prediction".to_owned(), 0.5)].into(),
        }
    }

    #[test]
    fn resuming_drops_later_lines_and_a_cut_one() {
        let path = std::env::temp_dir().join(format!("armilla-metrics-{}", std::process::id()));
        let mut writer = MetricsWriter::resume(&path, 0).unwrap();
        for step in [10, 20, 30] {
            writer.append(&line(step)).unwrap();
        }
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), [line(10), line(20)]);
        let mut writer = MetricsWriter::resume(&path, 10).unwrap();
        writer.append(&line(15)).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), [line(10), line(15)]);
        std::fs::write(&path, "{}\n").unwrap();
        let message = read_metrics(&path).unwrap_err().to_string();
        assert!(
            message.contains("line 1: missing field `step`"),
            "{message}"
        );
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let path =
            std::env::temp_dir().join(format!("armilla-metrics-broken-{}", std::process::id()));
        let [first, last] = [10, 30].map(|step| encode(&path, &line(step)).unwrap());
        std::fs::write(&path, format!("{first}{{\"step\":\n{last}")).unwrap();
        let message = read_metrics(&path).unwrap_err().to_string();
        assert!(
            message.contains("line 2: ") && message.ends_with("put the line right, or remove it"),
            "{message}"
        );
        assert!(!message.contains("checkpoint"), "{message}");
        std::fs::remove_file(&path).unwrap();
    }
}
