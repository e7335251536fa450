//! How long a large dataset takes to open.

use std::time::Instant;

use super::*;
use crate::episodes::{EpisodeRecord, batch, read_all, statistics_columns};
use crate::layout::FilePlace;
use crate::table::TableWriter;

/// Episodes of the large dataset.
const MANY: usize = 100_000;
/// How often it is opened.
const OPENS: usize = 7;

/// Metadata of many episodes with their statistics, so many to a row group; the frames are missing.
fn many_episodes(group: usize) -> TempDir {
    let folder = recorded();
    let root = folder.path();
    let camera = "observation.images.top";
    let known = read_all(root, &[camera], true).unwrap();
    let path = root.join(damage::METADATA);
    let records = |from: usize| -> Vec<EpisodeRecord> {
        let record = |index: usize| {
            let mut record = known[index % 2].clone();
            record.episode.index = index;
            record.episode.length = 100;
            record.episode.first_index = 100 * index;
            record
        };
        (from..(from + group).min(MANY)).map(record).collect()
    };
    let rows = |from| {
        let (records, place) = (records(from), FilePlace::default());
        let columns = statistics_columns(&records);
        batch(&path, &records, place, &columns, |key| key == camera)
    };
    let mut writer = TableWriter::create(&path, &rows(0).unwrap().schema(), None).unwrap();
    for from in (0..MANY).step_by(group) {
        writer.write(&rows(from).unwrap()).unwrap();
    }
    writer.close().unwrap();
    let mut info = Info::read(root).unwrap();
    info.total_episodes = MANY;
    info.total_frames = 100 * MANY;
    info.write(root).unwrap();
    folder
}

/// `cargo test --release --lib episodes_open_quickly -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, of a machine without other work"]
#[expect(clippy::print_stdout, reason = "what is measured is to be read")]
fn a_hundred_thousand_episodes_open_quickly() {
    for group in [1000, 100] {
        let folder = many_episodes(group);
        let mut times: Vec<_> = (0..OPENS)
            .map(|_| {
                let begin = Instant::now();
                let dataset = Dataset::open(folder.path()).unwrap();
                let seconds = begin.elapsed().as_secs_f64();
                assert_eq!(dataset.episodes().len(), MANY);
                seconds
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let (median, most) = (times[OPENS / 2], times[OPENS - 1]);
        println!("{group} episodes a row group: median {median:.3} s, longest {most:.3} s");
        assert!(most < 0.5, "{times:?}");
    }
}
