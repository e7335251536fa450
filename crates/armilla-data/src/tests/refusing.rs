//! What a loader cannot load, and what it leaves out.

use super::loading::opened;
use super::*;

#[test]
fn what_cannot_be_loaded_is_said() {
    let folder = recorded();
    let load = |change: &dyn Fn(&mut LoaderConfig, &mut LoaderSource)| {
        let mut config = LoaderConfig::new(WindowSpec::new(&[0], 2), 4, 1);
        let mut source = opened(&folder);
        change(&mut config, &mut source);
        WindowLoader::new(vec![source], config)
            .err()
            .unwrap()
            .to_string()
    };
    let error = load(&|config, _| config.spec = WindowSpec::new(&[0], 50));
    let expected = "at least 50 frames, as long as a window, found";
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("episodes of at most 40"), "{error}");
    let error = load(&|_, source| source.episodes = Some(Vec::new()));
    assert!(error.contains("found no episodes"), "{error}");
    let error = load(&|config, _| config.batch_size = 0);
    assert!(error.contains("batch_size"), "{error}");
    let error = load(&|_, source| source.episodes = Some(vec![1, 4]));
    assert!(error.contains("below 4, found 4"), "{error}");
    let error = load(&|_, source| source.episodes = Some(vec![1, 1]));
    assert!(error.contains("each once"), "{error}");
    let error = load(&|config, _| config.cameras = Some(vec!["wrist".to_owned()]));
    assert!(
        error.contains("observation.images.top") && error.contains("wrist"),
        "{error}"
    );
    let error = load(&|_, source| source.weight = Some(-1.0));
    assert!(error.contains("above zero"), "{error}");
    let error = load(&|config, _| config.spec.rate_hz = Some(0.0));
    assert!(error.contains("rate_hz"), "{error}");
    // One of several that has no window is named, whatever the others have.
    let (other, config) = (
        recorded(),
        LoaderConfig::new(WindowSpec::new(&[0], 2), 4, 1),
    );
    let mut sources = vec![opened(&folder), opened(&other)];
    sources[0].weight = Some(1.0);
    (sources[1].weight, sources[1].episodes) = (Some(2.0), Some(Vec::new()));
    let error = WindowLoader::new(sources, config).err().unwrap();
    let (error, root) = (error.to_string(), other.path().display());
    let expected = format!("windows of {root}: expected an episode of at least 2 frames");
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.ends_with("found no episodes"), "{error}");
}

#[test]
fn episodes_shorter_than_a_window_are_counted() {
    let folder = recorded();
    let load = |action_horizon| {
        let config = LoaderConfig::new(WindowSpec::new(&[0], action_horizon), 4, 1);
        WindowLoader::new(vec![opened(&folder)], config).unwrap()
    };
    let lengths: Vec<_> = load(1).episodes().iter().map(|one| one.length).collect();
    for horizon in [
        1,
        *lengths.iter().min().unwrap() + 1,
        *lengths.iter().max().unwrap(),
    ] {
        let short = lengths.iter().filter(|&&length| length < horizon).count();
        assert_eq!(load(horizon).too_short(), short, "{horizon} of {lengths:?}");
    }
}

#[test]
fn rows_of_another_width_are_not_taken_for_others() {
    let folder = recorded();
    let path = folder.path().join(crate::layout::INFO);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut info: serde_json::Value = serde_json::from_str(&text).unwrap();
    let width = info["features"]["action"]["shape"][0].as_u64().unwrap();
    info["features"]["action"]["shape"] = serde_json::json!([width + 1]);
    info["features"]["action"]["names"] = serde_json::Value::Null;
    std::fs::write(&path, info.to_string()).unwrap();
    let error = Dataset::open(folder.path()).and_then(|dataset| dataset.actions(1));
    let error = error.unwrap_err().to_string();
    let expected = format!("`action`: expected {} values in each row", width + 1);
    assert!(error.contains(&expected), "{error}");
}
