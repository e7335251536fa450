//! Windows from recorded datasets.

use super::*;

fn loader(spec: WindowSpec, batch: usize) -> (TempDir, WindowLoader) {
    let folder = recorded();
    let dataset = Dataset::open(folder.path()).unwrap();
    let loader = WindowLoader::open(&dataset, &StoreConfig::default(), spec, batch, 5).unwrap();
    (folder, loader)
}

#[test]
fn windows_hold_what_they_should() {
    let mut spec = WindowSpec::new(&[-1, 0, 2], 4);
    spec.actions_from = Some(0);
    spec.later = Some(LaterSpec {
        min_steps: 3,
        max_steps: 6,
        last_share: 0.5,
    });
    let (_folder, loader) = loader(spec, 8);
    // Episodes of 7, 40, 1 and 12 frames; the last action lies 3 past the anchor.
    assert_eq!(loader.len(), 4 + 37 + 9);
    let store = loader.store();
    let mut latest = 0;
    for step in [0, 11, 3, 11] {
        let (batch, windows) = (loader.batch(step), loader.windows(step));
        assert_eq!(batch, loader.batch(step));
        assert_eq!((batch.batch, batch.time, batch.action_horizon), (8, 3, 4));
        assert_eq!(batch.images.len(), 8 * 3 * HEIGHT * WIDTH * 3);
        for (i, window) in windows.iter().enumerate() {
            let stored = &store.episodes()[window.episode];
            let frames = [
                window.frame.saturating_sub(1),
                window.frame,
                window.frame + 2,
            ];
            for (time, frame) in frames.into_iter().enumerate() {
                let at = (i * 3 + time) * store.picture_len();
                assert_eq!(
                    &batch.images[at..at + store.picture_len()],
                    stored.image(frame)
                );
                assert_eq!(
                    &batch.states[(i * 3 + time) * 2..][..2],
                    stored.states.row(frame)
                );
            }
            let first_action = batch.actions[i * 12 + 2];
            assert_eq!(first_action, window.frame as f32);
            assert_eq!(batch.instructions[i], stored.instruction);
            let first = frames[0];
            let later = batch.later_steps[i] as usize;
            assert!((3..=6).contains(&later) && first + later < stored.length);
            latest += usize::from(later == 6.min(stored.length - 1 - first));
            let at = i * store.picture_len();
            let picture = &batch.later_images[at..at + store.picture_len()];
            assert_eq!(picture, stored.image(first + later));
        }
    }
    assert!(
        (16..=30).contains(&latest),
        "half and a quarter of the rest, found {latest} of 32"
    );
}

#[test]
fn actions_past_the_end_are_padding() {
    let mut spec = WindowSpec::new(&[0], 5);
    spec.allow_short_tail = true;
    let (_folder, loader) = loader(spec, 60);
    assert_eq!(loader.len(), 60);
    let batch = loader.batch(0);
    for (i, window) in loader.windows(0).iter().enumerate() {
        let length = loader.store().episodes()[window.episode].length;
        for step in 0..5 {
            let frame = window.frame + step;
            assert_eq!(batch.action_is_pad[i * 5 + step], frame >= length);
            let value = batch.actions[(i * 5 + step) * 3 + 2];
            assert_eq!(value, frame.min(length - 1) as f32);
        }
    }
}

#[test]
fn a_store_keeps_its_limit_and_selection() {
    let folder = recorded();
    let dataset = Dataset::open(folder.path()).unwrap();
    let mut config = StoreConfig {
        episodes: Some(vec![3, 0]),
        ..StoreConfig::default()
    };
    let store = FrameStore::load(&dataset, &config, &|_, _| ()).unwrap();
    let lengths: Vec<_> = store
        .episodes()
        .iter()
        .map(|e| (e.index, e.length))
        .collect();
    assert_eq!(lengths, [(3, 12), (0, 7)]);
    config.memory_limit_bytes = 1000;
    let error = FrameStore::load(&dataset, &config, &|_, _| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("19 decoded frames") && error.contains("limit"),
        "{error}"
    );
    let error = WindowLoader::new(store.into(), WindowSpec::new(&[0], 50), 4, 0)
        .err()
        .unwrap();
    assert!(error.to_string().contains("longest episode 12"), "{error}");
}
