//! Merged, split and cut datasets hold what their sources held.

use super::checking::findings;
use super::peers::fixture;
use super::*;

/// Checks that an episode is the same as one of another dataset: values, pictures, instructions.
fn same(found: (&Dataset, usize), expected: (&Dataset, usize)) {
    let (new, old) = (
        &found.0.episodes()[found.1],
        &expected.0.episodes()[expected.1],
    );
    assert_eq!((new.length, &new.tasks), (old.length, &old.tasks));
    for (key, feature) in &expected.0.features().0 {
        if feature.data_type.is_picture() {
            let images = |(dataset, index): (&Dataset, usize)| dataset.images(index, key).unwrap();
            assert_eq!(images(found), images(expected), "{key}");
        } else {
            let column = |(dataset, index): (&Dataset, usize)| dataset.column(index, key).unwrap();
            assert_eq!(column(found), column(expected), "{key}");
        }
    }
    let texts = |(dataset, index): (&Dataset, usize)| -> Vec<String> {
        let indices = dataset.numbers(index, "task_index").unwrap().into_iter();
        indices
            .map(|index| dataset.tasks()[index as usize].clone())
            .collect()
    };
    assert_eq!(texts(found), texts(expected));
    let index = found.0.numbers(found.1, "index").unwrap();
    assert_eq!(index[0], new.first_index as f64);
}

#[test]
fn merged_datasets_keep_order_and_join_instructions() {
    let (first, out) = (recorded(), tempfile::tempdir().unwrap());
    let second = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(second.path(), config()).unwrap();
    recorder
        .add_episodes(&[episode(5, 9), episode(1, 8)])
        .unwrap();
    recorder.finish().unwrap();
    let [first, second] = [&first, &second].map(|folder| Dataset::open(folder.path()).unwrap());
    let target = out.path().join("both");
    let merged = merge(&[&first, &second], &Target::New(target.clone()), &|_, _| ()).unwrap();
    assert_eq!(
        (merged.episodes, merged.tasks, merged.notes.len()),
        (6, 4, 0)
    );
    let both = Dataset::open(&target).unwrap();
    assert_eq!(
        both.tasks(),
        ["reach the goal", "push it 1", "push it 3", "push it 5"]
    );
    for index in 0..6 {
        same(
            (&both, index),
            if index < 4 {
                (&first, index)
            } else {
                (&second, index - 4)
            },
        );
    }
    assert_eq!(findings(&target), []);
}

#[test]
fn datasets_that_differ_are_not_merged_and_the_difference_is_named() {
    let (folder, out) = (recorded(), tempfile::tempdir().unwrap());
    let first = Dataset::open(folder.path()).unwrap();
    let target = Target::New(out.path().join("both"));
    type Edit = fn(&mut RecorderConfig);
    let cases: [(&str, Edit); 5] = [
        ("fps: expected 10, found 20", |config| config.fps = 20),
        ("`observation.wind` is in the second", |config| {
            config
                .features
                .0
                .insert("observation.wind".to_owned(), Feature::vector(&["w"]));
        }),
        ("names of `action`", |config| {
            config
                .features
                .0
                .insert("action".to_owned(), Feature::vector(&["a", "b", "c"]));
        }),
        ("shape of `observation.state`", |config| {
            config
                .features
                .0
                .insert("observation.state".to_owned(), Feature::vector(&["x"]));
        }),
        (
            "dtype of `action`: expected \"float32\", found \"int32\"",
            |config| {
                let action = config.features.0.get_mut("action").unwrap();
                action.data_type = armilla_core::features::DataType::Int32;
            },
        ),
    ];
    for (words, edit) in cases {
        let second = tempfile::tempdir().unwrap();
        let mut config = config();
        edit(&mut config);
        let mut info = info::Info::empty(config.features, config.fps, "pusher");
        info.limits = FileLimits::default();
        info.write(second.path()).unwrap();
        let second = Dataset::open(second.path()).unwrap();
        let error = merge(&[&first, &second], &target, &|_, _| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(!target.folder().exists());
}

#[test]
fn deleted_episodes_are_gone_in_a_new_folder_or_in_place() {
    let (folder, out) = (recorded(), tempfile::tempdir().unwrap());
    let whole = Dataset::open(folder.path()).unwrap();
    let target = Target::New(out.path().join("d"));
    delete(&whole, &[0, 3], &target, &|_, _| ()).unwrap();
    let cut = Dataset::open(target.folder()).unwrap();
    assert_eq!(cut.tasks(), ["reach the goal", "push it 1"]);
    same((&cut, 0), (&whole, 1));
    same((&cut, 1), (&whole, 2));
    assert_eq!(
        (cut.episodes().len(), findings(target.folder())),
        (2, vec![])
    );
    let error = delete(&whole, &[0, 1, 2, 3], &target, &|_, _| ()).unwrap_err();
    assert!(error.to_string().contains("at least one"), "{error}");
    let place = Target::Replace(target.folder().to_owned());
    delete(&cut, &[1], &place, &|_, _| ()).unwrap();
    let cut = Dataset::open(target.folder()).unwrap();
    same((&cut, 0), (&whole, 1));
    assert_eq!(
        (cut.episodes().len(), findings(target.folder())),
        (1, vec![])
    );
}

#[test]
fn a_split_dataset_has_every_episode_once() {
    let folder = recorded();
    for root in [folder.path().to_owned(), fixture("lerobot")] {
        let out = tempfile::tempdir().unwrap();
        let whole = Dataset::open(&root).unwrap();
        let parts = ["train=0.5", "test=0.5"].map(|part| Part::parse(part, 4).unwrap());
        let folder = out.path().join("parts");
        let made = split(&whole, &parts, Some(1), &folder, &|_, _| ()).unwrap();
        let mut all = made.values().flatten().copied().collect::<Vec<_>>();
        for (name, episodes) in &made {
            let part = Dataset::open(folder.join(name)).unwrap();
            for (index, &number) in episodes.iter().enumerate() {
                same((&part, index), (&whole, number));
            }
            assert_eq!(findings(part.root()), []);
        }
        all.sort_unstable();
        assert_eq!(all, (0..whole.episodes().len()).collect::<Vec<_>>());
    }
}

#[test]
fn statistics_are_counted_anew() {
    let folder = recorded();
    let root = folder.path().join("d");
    std::fs::create_dir(&root).unwrap();
    for name in ["data", "meta", "videos"] {
        std::fs::rename(folder.path().join(name), root.join(name)).unwrap();
    }
    let before = Dataset::open(&root).unwrap();
    std::fs::remove_file(root.join("meta/stats.json")).unwrap();
    recount(&before, &Target::Replace(root.clone()), &|_, _| ()).unwrap();
    let after = Dataset::open(&root).unwrap();
    assert_eq!(after.statistics()["action"], before.statistics()["action"]);
    let camera = |dataset: &Dataset| dataset.statistics()["observation.images.top"].clone();
    // Before, what went into the encoder was counted; now, what comes out of the decoder.
    for (old, new) in camera(&before).mean.iter().zip(&camera(&after).mean) {
        assert!((old - new).abs() < 0.02, "{old} {new}");
    }
    assert_eq!((camera(&after).count, findings(&root)), (60, vec![]));
}
