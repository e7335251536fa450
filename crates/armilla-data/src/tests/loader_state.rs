//! What a checkpoint keeps of a loader.

use super::loading::opened;
use super::*;

#[test]
fn a_checkpoint_tells_other_data_apart() {
    let spec = WindowSpec::new(&[0], 2);
    let state = |folder: &TempDir, episodes: Option<Vec<usize>>, spec: &WindowSpec| {
        let source = LoaderSource {
            episodes,
            ..opened(folder)
        };
        let config = LoaderConfig::new(spec.clone(), 4, 1);
        WindowLoader::new(vec![source], config).unwrap().state()
    };
    let (folder, again) = (recorded(), recorded());
    let first = state(&folder, None, &spec);
    assert_eq!(state(&again, None, &spec), first, "wherever it lies");
    assert_ne!(state(&folder, Some(vec![0, 1]), &spec), first);
    assert_ne!(state(&folder, None, &WindowSpec::new(&[0], 3)), first);
    let text = serde_json::to_string(&first).unwrap();
    assert_eq!(serde_json::from_str::<LoaderState>(&text).unwrap(), first);
}

/// The state of a loader of all of a dataset, as it is on disk now.
fn state_now(folder: &TempDir) -> LoaderState {
    let config = LoaderConfig::new(WindowSpec::new(&[0], 2), 4, 1);
    let loader = WindowLoader::new(vec![opened(folder)], config);
    loader.unwrap().state()
}

/// Makes 40 of a feature's largest value, 39, in the text: read and written anew, other numbers might lose a digit.
fn raise_largest(folder: &TempDir, key: &str) {
    let path = folder.path().join(layout::STATS);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, feature) = text.split_at(text.find(&format!("\"{key}\"")).unwrap());
    let (above, below) = feature.split_once("\"max\"").unwrap();
    assert!(below.contains("39.0"), "{below}");
    let below = below.replacen("39.0", "40.0", 1);
    std::fs::write(&path, format!("{before}{above}\"max\"{below}")).unwrap();
}

#[test]
fn a_checkpoint_tells_other_statistics_of_actions_apart() {
    let folder = recorded();
    let first = state_now(&folder);
    raise_largest(&folder, "frame_index");
    assert_eq!(state_now(&folder), first, "no model scales by it");
    raise_largest(&folder, "action");
    let mut changed = state_now(&folder);
    assert_ne!(changed.statistics, first.statistics);
    changed.statistics.clone_from(&first.statistics);
    assert_eq!(changed, first, "all else is as it was");
}

#[test]
fn a_state_of_an_older_version_has_neither_statistics_nor_cameras() {
    let state = state_now(&recorded());
    let mut value = serde_json::to_value(state).unwrap();
    value.as_object_mut().unwrap().remove("statistics");
    let dataset = value["datasets"][0].as_object_mut().unwrap();
    dataset.remove("cameras").expect("it is kept now");
    let older: LoaderState = serde_json::from_value(value).unwrap();
    assert_eq!(older.statistics, "");
    assert!(older.datasets[0].cameras.is_empty());
}
