//! What can be saved is saved and sound; what cannot is named.

use super::checking::findings;
use super::damage::{
    DATA, METADATA, VIDEO, in_many_files, keep_rows, replace, set_float, set_integer, spoil_frame,
};
use super::*;

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

/// Repairs, checks that the result is sound and holds what the saved episodes held; gives back what was said.
fn repaired(root: &Path, saved: &[usize]) -> Repaired {
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("d");
    let found = repair(root, &target, &|_, _| ()).unwrap();
    assert_eq!(findings(&target), []);
    let dataset = Dataset::open(&target).unwrap();
    assert_eq!(
        (dataset.episodes().len(), found.episodes),
        (saved.len(), saved.len()),
        "{found:?}"
    );
    for (index, &number) in saved.iter().enumerate() {
        let expected = episode(number, LENGTHS[number]);
        let states = dataset.states(index).unwrap();
        let images = dataset.images(index, "top").unwrap();
        assert_eq!(
            (states.len(), images.len()),
            (LENGTHS[number], LENGTHS[number])
        );
        for (frame, image) in images.iter().enumerate() {
            let observation = &expected.observations[frame];
            assert_eq!(states.row(frame), observation.state);
            assert!(mean_difference(image, &observation.images["top"]) < 3.0);
        }
        let instruction = expected.observations[0].instruction.as_deref();
        assert_eq!(
            dataset.episodes()[index].instruction(),
            instruction.unwrap_or("reach the goal")
        );
    }
    let lost: Vec<_> = (0..4).filter(|number| !saved.contains(number)).collect();
    let named: Vec<_> = found.lost.iter().map(|lost| lost.episode).collect();
    assert_eq!(named, lost, "{found:?}");
    found
}

type Damage = fn(&Path);

/// Of a dataset in few files: what breaks, what is saved, and a word of why the rest is not (or of a note).
const IN_FEW_FILES: [(Damage, &[usize], &str); 15] = [
    (|_| (), &[0, 1, 2, 3], ""),
    (
        |root| remove(&root.join("meta/stats.json")),
        &[0, 1, 2, 3],
        "",
    ),
    (
        |root| remove(&root.join(METADATA)),
        &[0, 1, 2, 3],
        "metadata of episodes 0-3 was lost",
    ),
    (
        |root| keep_rows(&root.join(METADATA), 1, 2),
        &[0, 1, 2, 3],
        "episodes 0,3 was lost",
    ),
    (|root| cut(&root.join(VIDEO)), &[0], "cut within it"),
    (
        |root| std::fs::write(root.join("data/spare.parquet"), "x").unwrap(),
        &[0, 1, 2, 3],
        "spare.parquet",
    ),
    (
        |root| {
            replace(
                &root.join("meta/info.json"),
                "\"total_frames\": 60",
                "\"total_frames\": 1",
            )
        },
        &[0, 1, 2, 3],
        "",
    ),
    (
        |root| {
            replace(
                &root.join("meta/info.json"),
                "\"total_episodes\": 4",
                "\"total_episodes\": 3",
            )
        },
        &[0, 1, 2, 3],
        "",
    ),
    (
        |root| remove(&root.join("meta/tasks.parquet")),
        &[0, 1, 2, 3],
        "tasks.parquet",
    ),
    (
        |root| set_float(&root.join(DATA), "observation.state", 9, f64::INFINITY),
        &[0, 2, 3],
        "not finite",
    ),
    (
        |root| set_integer(&root.join(DATA), "index", 9, 3),
        &[0, 1, 2, 3],
        "",
    ),
    (
        |root| keep_rows(&root.join(DATA), 0, 59),
        &[0, 1, 2],
        "its metadata counts 12 frames",
    ),
    (
        |root| spoil_frame(&root.join(VIDEO), 20),
        &[0, 2, 3],
        "file-000.mp4",
    ),
    (
        |root| set_integer(&root.join(METADATA), "length", 1, 39),
        &[0, 1, 2, 3],
        "",
    ),
    (
        |root| {
            let from = "videos/observation.images.top/from_timestamp";
            set_float(&root.join(METADATA), from, 2, 0.1);
        },
        &[0, 1, 2, 3],
        "",
    ),
];

/// Of a dataset with files for each episode.
const IN_MANY_FILES: [(Damage, &[usize], &str); 4] = [
    (
        |root| cut(&root.join("data/chunk-000/file-003.parquet")),
        &[0, 1, 2],
        "file-003.parquet is missing or cannot be read",
    ),
    (
        |root| remove(&root.join("meta/episodes/chunk-000/file-001.parquet")),
        &[0, 1, 2, 3],
        "episodes 1 was lost",
    ),
    (
        |root| remove(&root.join("meta/episodes/chunk-000/file-003.parquet")),
        &[0, 1, 2, 3],
        "episodes 3 was lost",
    ),
    (
        |root| remove(&root.join("videos/observation.images.top/chunk-000/file-002.mp4")),
        &[0, 1, 3],
        "the file is missing",
    ),
];

#[test]
fn what_can_be_saved_is_saved() {
    let few = IN_FEW_FILES.iter().map(|case| (recorded(), case));
    let many = IN_MANY_FILES.iter().map(|case| (in_many_files(), case));
    for (folder, (damage, saved, word)) in few.chain(many) {
        damage(folder.path());
        let found = repaired(folder.path(), saved);
        let said = format!("{found:?}");
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn what_cannot_be_saved_at_all_is_refused() {
    let folder = recorded();
    let target = folder.path().join("new");
    remove(&folder.path().join(VIDEO));
    let error = repair(folder.path(), &target, &|_, _| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no episode can be saved") && error.contains("missing"),
        "{error}"
    );
    remove(&folder.path().join("meta/info.json"));
    let error = repair(folder.path(), &target, &|_, _| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("info.json"), "{error}");
    assert!(!target.exists());
}
