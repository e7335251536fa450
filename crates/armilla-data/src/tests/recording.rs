//! Recording step by step: queues, real time, capture times, and disks that refuse.

use std::path::PathBuf;

use super::*;

/// Two cameras, each step's capture time, and the usual state and action.
fn streamed() -> RecorderConfig {
    let mut config = config().with_capture_timestamps();
    let side = Feature::camera(HEIGHT, WIDTH);
    let key = "observation.images.side".to_owned();
    config.features.0.insert(key, side);
    config
}

/// One of the usual episodes with a second camera, taken a little late at each step.
fn streamed_episode(index: usize, length: usize) -> EpisodeFrames {
    let mut frames = episode(index, length);
    for (step, observation) in frames.observations.iter_mut().enumerate() {
        let side = picture(index + 1, step + 3);
        observation.images.insert("side".to_owned(), side);
        observation.captured_at_secs = captured(step);
    }
    frames
}

fn captured(step: usize) -> f64 {
    step as f64 * 0.1 + 0.003 * (step % 5) as f64
}

fn step<'a>(frames: &'a EpisodeFrames, step: usize, others: &'a Columns) -> Frame<'a> {
    Frame {
        observation: &frames.observations[step],
        action: &frames.actions[step],
        others,
    }
}

/// Adds all steps of an episode, waiting for room.
fn add_all(recorder: &mut Recorder, frames: &EpisodeFrames) -> Result<()> {
    let none = Columns::new();
    (0..frames.actions.len()).try_for_each(|index| recorder.add(&step(frames, index, &none)))
}

fn check_streamed(dataset: &Dataset, index: usize, kept: &[usize], expected: &EpisodeFrames) {
    let states = dataset.states(index).unwrap();
    let times = dataset.numbers(index, CAPTURE_TIMESTAMP).unwrap();
    let nominal = dataset.numbers(index, "timestamp").unwrap();
    assert_eq!((states.len(), times.len()), (kept.len(), kept.len()));
    for camera in ["top", "side"] {
        let images = dataset.images(index, camera).unwrap();
        assert_eq!(images.len(), kept.len());
        for (image, &step) in images.iter().zip(kept) {
            let original = &expected.observations[step].images[camera];
            let off = mean_difference(image, original);
            assert!(off < 3.0, "{camera} of step {step}: {off}");
        }
    }
    for (frame, &step) in kept.iter().enumerate() {
        assert_eq!(states.row(frame), expected.observations[step].state);
        assert_eq!(times[frame], captured(step));
        assert_eq!(nominal[frame] as f32, frame as f32 / 10.0);
    }
}

#[test]
fn a_queue_of_one_changes_nothing_but_the_time() {
    let mut hashes = Vec::new();
    for queue_frames in [1, 30] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = streamed();
        config.queue_frames = queue_frames;
        let mut recorder = Recorder::create(folder.path(), config).unwrap();
        for (index, length) in [(0, 40), (1, 3)] {
            add_all(&mut recorder, &streamed_episode(index, length)).unwrap();
            let saved = recorder.save_episode().unwrap();
            let expected = SavedEpisode {
                index,
                frames: length,
                dropped: 0,
            };
            assert_eq!(saved, expected);
        }
        recorder.finish().unwrap();
        let dataset = Dataset::open(folder.path()).unwrap();
        let kept: Vec<_> = (0..40).collect();
        check_streamed(&dataset, 0, &kept, &streamed_episode(0, 40));
        let capture = &dataset.statistics()[CAPTURE_TIMESTAMP];
        assert_eq!((capture.count, capture.min[0]), (43, 0.0));
        hashes.push(dataset.content_hash().unwrap());
    }
    // Whole episodes are encoded on the caller's thread, to the same files.
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(folder.path(), streamed()).unwrap();
    let episodes = [streamed_episode(0, 40), streamed_episode(1, 3)];
    recorder.add_episodes(&episodes).unwrap();
    recorder.finish().unwrap();
    let dataset = Dataset::open(folder.path()).unwrap();
    hashes.push(dataset.content_hash().unwrap());
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0], hashes[2]);
}

#[test]
fn in_real_time_whole_steps_are_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = streamed();
    config.queue_frames = 1;
    let mut recorder = Recorder::create(folder.path(), config).unwrap();
    let (frames, none) = (streamed_episode(0, 400), Columns::new());
    let mut kept = Vec::new();
    for index in 0..400 {
        // Handed in far faster than they are encoded, but for a pause now and then.
        match recorder.try_add(&step(&frames, index, &none)).unwrap() {
            Added::Kept => kept.push(index),
            Added::Dropped if index % 50 == 0 => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Added::Dropped => {}
        }
    }
    let saved = recorder.save_episode().unwrap();
    let expected = SavedEpisode {
        index: 0,
        frames: kept.len(),
        dropped: 400 - kept.len(),
    };
    assert_eq!(saved, expected);
    assert!(saved.dropped > 0 && kept[0] == 0, "{saved:?}");
    recorder.finish().unwrap();
    check_streamed(&Dataset::open(folder.path()).unwrap(), 0, &kept, &frames);
}

/// Puts a device that is always full in the place of a file that the recorder is about to write.
#[cfg(target_os = "linux")]
fn fill_disk(path: PathBuf) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", path).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_with_an_error_and_keeps_what_is_finished() {
    for file in [
        ".recording/episode-000002/side.mp4",
        ".recording/episode-000002/data.parquet",
        ".recording/episode-000002/episode.parquet",
        ".recording/tasks.parquet",
        "meta/info.json.partial",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::create(folder.path(), streamed()).unwrap();
        for index in 0..2 {
            add_all(&mut recorder, &streamed_episode(index, 5)).unwrap();
            recorder.save_episode().unwrap();
        }
        fill_disk(folder.path().join(file));
        // Its instruction is new, so that the file of instructions is written too.
        let mut third = streamed_episode(2, 200);
        third.observations[0].instruction = Some("do what is new".to_owned());
        let added = add_all(&mut recorder, &third);
        let saved = recorder.save_episode();
        let said = match added {
            Err(error) => {
                let lost = saved.unwrap_err().to_string();
                assert!(lost.contains("is lost") && lost.contains(file), "{lost}");
                error.to_string()
            }
            Ok(()) => saved.unwrap_err().to_string(),
        };
        for word in [file, "No space left on device", "make room"] {
            assert!(said.contains(word), "{file}: {said}");
        }
        std::fs::remove_file(folder.path().join(file)).ok();
        // There is room again: recording goes on.
        let finished = recorder.episodes();
        assert_eq!(finished, 2 + usize::from(file.ends_with("partial")));
        add_all(&mut recorder, &streamed_episode(4, 7)).unwrap();
        assert_eq!(recorder.save_episode().unwrap().index, finished);
        drop(recorder);
        let dataset = Dataset::open(folder.path()).unwrap();
        assert_eq!(dataset.recovered().unwrap().episodes, finished + 1);
        let kept: Vec<_> = (0..5).collect();
        (0..2).for_each(|index| {
            check_streamed(&dataset, index, &kept, &streamed_episode(index, 5));
        });
        let kept: Vec<_> = (0..7).collect();
        check_streamed(&dataset, finished, &kept, &streamed_episode(4, 7));
    }
}

#[test]
fn a_folder_that_vanishes_is_missed_and_comes_back_whole() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, moved) = (folder.path().join("d"), elsewhere.path().join("d"));
    let mut recorder = Recorder::create(&root, streamed()).unwrap();
    add_all(&mut recorder, &streamed_episode(0, 5)).unwrap();
    recorder.save_episode().unwrap();
    add_all(&mut recorder, &streamed_episode(1, 5)).unwrap();
    std::fs::rename(&root, &moved).unwrap();
    // The encoders notice at their next write, of some thirty pictures.
    let first = match add_all(&mut recorder, &streamed_episode(1, 200)) {
        Err(error) => error.to_string(),
        Ok(()) => recorder.save_episode().unwrap_err().to_string(),
    };
    recorder.discard_episode();
    let next = add_all(&mut recorder, &streamed_episode(1, 5)).unwrap_err();
    let whole = recorder.add_episode(&streamed_episode(1, 5)).unwrap_err();
    let finish = recorder.finish().unwrap_err();
    for said in [
        first,
        next.to_string(),
        whole.to_string(),
        finish.to_string(),
    ] {
        let root = root.to_str().unwrap();
        assert!(
            said.contains("moved or removed") && said.contains(root),
            "{said}"
        );
    }
    assert!(!root.exists(), "no second dataset comes about");
    let dataset = Dataset::open(&moved).unwrap();
    assert_eq!(dataset.recovered().unwrap().episodes, 1);
    let kept: Vec<_> = (0..5).collect();
    check_streamed(&dataset, 0, &kept, &streamed_episode(0, 5));
}

#[test]
fn what_cannot_be_streamed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = streamed();
    config.queue_frames = 0;
    let error = Recorder::create(folder.path(), config).err().unwrap();
    assert!(error.to_string().contains("queue_frames"), "{error}");
    let mut config = streamed();
    let capture = config.features.0.get_mut(CAPTURE_TIMESTAMP).unwrap();
    capture.shape = vec![2];
    let error = Recorder::create(folder.path(), config).err().unwrap();
    assert!(error.to_string().contains(CAPTURE_TIMESTAMP), "{error}");
    let mut recorder = Recorder::create(folder.path(), streamed()).unwrap();
    let mut frames = streamed_episode(0, 2);
    frames.observations[1].captured_at_secs = f64::NAN;
    let error = add_all(&mut recorder, &frames).unwrap_err().to_string();
    assert!(
        error.contains("capture time") && error.contains("NaN"),
        "{error}"
    );
    // A step that does not fit is not added, and the episode goes on.
    add_all(&mut recorder, &streamed_episode(0, 2)).unwrap();
    assert_eq!(recorder.save_episode().unwrap().frames, 3);
}

#[test]
fn metadata_that_is_missing_costs_no_episode() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut recorder = Recorder::create(root, streamed()).unwrap();
    recorder
        .add_episodes(&[0, 1, 2].map(|index| streamed_episode(index, 3)))
        .unwrap();
    drop(recorder);
    std::fs::remove_file(root.join("meta/episodes/chunk-000/file-002.parquet")).unwrap();
    let before = layout::files_below(root).unwrap();
    let error = Dataset::open(root).err().unwrap().to_string();
    assert!(
        error.contains("metadata of 3 episodes") && error.contains("found 2"),
        "{error}"
    );
    assert_eq!(layout::files_below(root).unwrap(), before);
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join("mended");
    crate::repair(root, &copy, &|_, _| ()).unwrap();
    assert_eq!(Dataset::open(&copy).unwrap().episodes().len(), 3);
}

#[test]
fn a_recording_that_was_cut_off_before_it_began_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(layout::RECORDING)).unwrap();
    let error = Dataset::open(folder.path()).err().unwrap().to_string();
    assert!(
        error.contains("cut off before it began") && error.contains("record anew"),
        "{error}"
    );
}
