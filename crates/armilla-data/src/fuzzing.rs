//! What a hostile file reaches, one function a format: for the fuzz targets in `fuzz/`, and for the test that reads their
//! corpus.
//!
//! Each function takes a file's bytes and reads them as this crate does. It gives nothing back: it must only come back,
//! without a panic and within the bounds that `docs/datasets.md` states.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use armilla_core::features::{DataType, Feature};

use crate::convert::{self, ConvertOptions};
use crate::frames_table::read_column;
use crate::info::Info;
use crate::layout::{INFO, STATS, TASKS};
use crate::table::{Selection, read_footer, read_rows, read_table};
use crate::video::boxes::sample_description;
use crate::video::decode::decode;
use crate::video::demux::VideoIndex;
use crate::{episodes, json as json_file, pictures, statistics, tasks};

/// A folder for the files, removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder below the system's temporary one (`TMPDIR`); best in memory.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    #[allow(clippy::unwrap_used, reason = "only tests and fuzz targets come here")]
    pub fn new() -> Self {
        let thread = format!("{:?}", std::thread::current().id());
        let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
        let name = format!("armilla-fuzz-{}-{thread}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        for name in ["meta", "old/meta"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let old = include_bytes!("../fixtures/old/lerobot_v21/meta/info.json");
        fs::write(folder.join("old").join(INFO), old).unwrap();
        Self(folder)
    }

    #[allow(clippy::unwrap_used, reason = "only tests and fuzz targets come here")]
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Lets panics unwind that a reader catches, where libFuzzer would end the process at once; it still ends with all others.
pub fn quiet_panics() {
    drop(std::panic::take_hook());
}

/// `info.json` of both versions, `stats.json`, and the lines of v2.1.
pub fn json(scratch: &Scratch, bytes: &[u8]) {
    scratch.put(INFO, bytes);
    scratch.put(STATS, bytes);
    Info::read(&scratch.0).ok();
    statistics::read(&scratch.0).ok();
    convert::open(&scratch.0, &ConvertOptions::default()).ok();
    for name in ["episodes", "tasks", "episodes_stats"] {
        scratch.put(&format!("old/meta/{name}.jsonl"), bytes);
    }
    let lines = json_file::read_lines::<serde_json::Value>(&scratch.0.join("old/meta/tasks.jsonl"));
    drop(lines);
    convert::open(&scratch.0.join("old"), &ConvertOptions::default()).ok();
}

/// Instructions, episode metadata and frame tables.
pub fn parquet(scratch: &Scratch, bytes: &[u8]) {
    let path = scratch.put(TASKS, bytes);
    tasks::read(&scratch.0).ok();
    episodes::read_file(&path, &["observation.image"], true).ok();
    if let Ok(footer) = read_footer(&path) {
        let selection = Selection {
            offset: 3,
            limit: 5,
            ..Selection::ALL
        };
        read_rows(&path, &footer, &selection).ok();
    }
    let Ok(batches) = read_table(&path) else {
        return;
    };
    let types = DataType::ALL.into_iter().flat_map(|data_type| {
        [vec![1], vec![2], vec![2, 3]].map(|shape| Feature {
            data_type,
            shape,
            names: Vec::new(),
        })
    });
    let types: Vec<_> = types.collect();
    for array in batches.iter().flat_map(|batch| batch.columns()) {
        for feature in &types {
            let Ok(column) = read_column(&path, "key", feature, &Arc::clone(array)) else {
                continue;
            };
            if feature.data_type.is_picture() {
                column.images().ok();
            }
        }
    }
}

/// A video's index, its description, and its first pictures.
pub fn mp4(scratch: &Scratch, bytes: &[u8]) {
    let path = scratch.put("video.mp4", bytes);
    sample_description(&path).ok();
    if let Ok(index) = VideoIndex::read(&path) {
        let frames = index.shown.len();
        decode(&index, 0..frames.min(3), None).ok();
        index.frames(0.0, frames, 10, "an episode").ok();
        index.rate_hz();
    }
}

/// An array of stable-worldmodel's folders.
pub fn npz(scratch: &Scratch, bytes: &[u8]) {
    let path = scratch.put("array.npz", bytes);
    convert::read_npz(&path).ok();
}

/// A picture in a table.
pub fn png(_: &Scratch, bytes: &[u8]) {
    pictures::decode(bytes).ok();
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    /// Reads every file that fuzzing found worth keeping, those that once ended the process among them.
    #[test]
    fn the_corpus_is_read_without_a_panic() {
        type Target = fn(&Scratch, &[u8]);
        let targets: [(&str, Target); 5] = [
            ("json", json),
            ("parquet", parquet),
            ("mp4", mp4),
            ("npz", npz),
            ("png", png),
        ];
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let scratch = Scratch::new();
        for (name, target) in targets {
            let mut read = 0;
            for entry in fs::read_dir(corpus.join(name)).unwrap() {
                let path = entry.unwrap().path();
                let begun = Instant::now();
                target(&scratch, &fs::read(&path).unwrap());
                let took = begun.elapsed();
                assert!(
                    took < Duration::from_secs(10),
                    "{}: {took:?}",
                    path.display()
                );
                read += 1;
            }
            assert!(read > 0, "{name} has files");
        }
    }
}
