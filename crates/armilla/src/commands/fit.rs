//! Whether a dataset is one that a world model can look at.

use anyhow::{Result, bail, ensure};
use armilla_core::Feature;
use armilla_core::features::{ACTION, STATE};
use armilla_data::Dataset;
use armilla_world::Shape;

/// Checks cameras, size of pictures, and widths of action and state.
pub(crate) fn dataset(shape: &Shape, cameras: &[String], dataset: &Dataset) -> Result<()> {
    let side = shape.image_size;
    for camera in cameras {
        let found = &has_camera(dataset, camera)?.shape;
        ensure!(
            found[..2] == [side, side],
            "{}: camera `{camera}`: expected pictures of {side} x {side}, the model's `image_size`, found {} x {}",
            dataset.root().display(),
            found[0],
            found[1]
        );
    }
    widths(shape, dataset)
}

/// Checks what a loader would make up for in one dataset of several: cameras that are missing, actions and states that are narrower. How
/// large pictures are is the loader's to say, whose transforms bring them to one size.
pub(crate) fn part_of_mixture(shape: &Shape, cameras: &[String], dataset: &Dataset) -> Result<()> {
    for camera in cameras {
        has_camera(dataset, camera)?;
    }
    widths(shape, dataset)
}

fn has_camera<'a>(dataset: &'a Dataset, camera: &str) -> Result<&'a Feature> {
    let mut known = dataset.features().cameras();
    let Some((_, feature)) = known.find(|(name, _)| *name == camera) else {
        let found: Vec<_> = dataset.features().cameras().map(|(name, _)| name).collect();
        bail!(
            "{}: expected camera `{camera}`, which the model looks through, found {}; a training takes another by `cameras`",
            dataset.root().display(),
            found.join(", ")
        );
    };
    Ok(feature)
}

fn widths(shape: &Shape, dataset: &Dataset) -> Result<()> {
    for (key, name, expected) in [
        (ACTION, "action", shape.action),
        (STATE, "state", shape.state),
    ] {
        let found = dataset.features().width(key);
        ensure!(
            found == expected || expected == 0,
            "{}: `{key}`: expected {expected} values, the model's `{name}`, found {found}",
            dataset.root().display()
        );
    }
    Ok(())
}

/// Checks that actions come as often as in the recordings that a model learnt from, where that is known.
pub(crate) fn rate(learnt_hz: Option<f64>, dataset: &Dataset) -> Result<()> {
    let found = f64::from(dataset.fps());
    if let Some(learnt) = learnt_hz {
        ensure!(
            (found - learnt).abs() < 1e-3 * learnt,
            "{}: expected {learnt} Hz, as in the recordings that the model learnt from, found {found} Hz; who wants it all the same takes `fps` out of the checkpoint's config.json",
            dataset.root().display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::{Action, Features, Image, Observation};
    use armilla_data::{EpisodeFrames, Recorder, RecorderConfig};
    use armilla_world::{JepaConfig, ModelConfig};

    const SIDE: usize = 64;

    /// One episode of two steps, seen by one camera.
    fn recorded(root: &std::path::Path, camera: &str) -> Dataset {
        let features = Features::robot(
            (camera, Feature::camera(SIDE, SIDE)),
            Feature::vector(&["x_m"]),
            Feature::vector(&["dx_m", "dy_m"]),
        );
        let config = RecorderConfig::new(features, 10, "test", "test");
        let mut recorder = Recorder::create(root, config).unwrap();
        let mut frames = EpisodeFrames::default();
        for _ in 0..2 {
            let image = Image::filled(SIDE, SIDE, [90; 3]);
            let observation = Observation {
                images: [(camera.to_owned(), image)].into(),
                state: vec![0.5],
                ..Observation::default()
            };
            frames.push(observation, Action(vec![0.1, -0.1]));
        }
        recorder.add_episodes(&[frames]).unwrap();
        recorder.finish().unwrap();
        Dataset::open(root).unwrap()
    }

    #[test]
    fn what_a_model_cannot_look_at_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("seen");
        let seen = recorded(&root, "wrist");
        let nano = ModelConfig::Jepa(JepaConfig::nano()).shape();
        let shape = |image_size, action| Shape {
            image_size,
            action,
            state: 1,
            ..nano.clone()
        };
        let wrist = ["wrist".to_owned()];
        assert!(dataset(&shape(SIDE, 2), &wrist, &seen).is_ok());
        let said = dataset(&shape(32, 2), &wrist, &seen).unwrap_err();
        assert!(
            said.to_string().contains("expected pictures of 32 x 32"),
            "{said}"
        );
        let part = |shape: &Shape, camera: &str| {
            part_of_mixture(shape, &[camera.to_owned()], &seen).map_err(|error| error.to_string())
        };
        assert!(part(&shape(32, 2), "wrist").is_ok(), "a resize may follow");
        let said = part(&shape(SIDE, 2), "top").unwrap_err();
        let lacks = "seen: expected camera `top`, which the model looks through, found wrist";
        assert!(said.contains(lacks), "{said}");
        let said = part(&shape(SIDE, 3), "wrist").unwrap_err();
        assert!(
            said.contains("expected 3 values, the model's `action`, found 2"),
            "{said}"
        );
    }
}
