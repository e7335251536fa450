//! Whether a dataset is one that a world model can look at.

use anyhow::{Context as _, Result, bail, ensure};
use armilla_core::Feature;
use armilla_core::environment::MOST_APART;
use armilla_core::features::{ACTION, STATE};
use armilla_data::{Dataset, ImageTransform, size_after_transforms};
use armilla_world::{ActionScale, Shape};

/// Checks cameras, size of pictures after a training's transforms, and widths of action and state.
pub(crate) fn dataset(
    shape: &Shape,
    cameras: &[String],
    dataset: &Dataset,
    transforms: &[ImageTransform],
) -> Result<()> {
    for camera in cameras {
        let mend = "in the checkpoint's config.json";
        let recorded = &has_camera(dataset, camera, mend)?.shape;
        let place = || format!("{}: camera `{camera}`", dataset.root().display());
        let size = size_after_transforms(transforms, [recorded[0], recorded[1]]);
        image_size(shape, size.with_context(place)?)
            .context("after the `transforms` of the run that the checkpoint lies in, if any")
            .with_context(place)?;
    }
    widths(shape, dataset)
}

/// Checks the size of pictures.
pub(crate) fn image_size(shape: &Shape, found: [usize; 2]) -> Result<()> {
    let side = shape.image_size;
    ensure!(
        found == [side, side],
        "expected pictures of {side} x {side}, the model's `image_size`, found {} x {}",
        found[0],
        found[1]
    );
    Ok(())
}

/// Checks cameras and widths alone. How large pictures are is a loader's to say, whose transforms bring them to one size; it would make up for
/// cameras that one dataset of several lacks, and for actions and states that are narrower there.
pub(crate) fn features(shape: &Shape, cameras: &[String], dataset: &Dataset) -> Result<()> {
    for camera in cameras {
        let mend = "by `cameras`";
        has_camera(dataset, camera, mend)?;
    }
    widths(shape, dataset)
}

fn has_camera<'a>(dataset: &'a Dataset, camera: &str, mend: &str) -> Result<&'a Feature> {
    let mut known = dataset.features().cameras();
    let Some((_, feature)) = known.find(|(name, _)| *name == camera) else {
        let found: Vec<_> = dataset.features().cameras().map(|(name, _)| name).collect();
        bail!(
            "{}: expected camera `{camera}`, which the model looks through, found {}; to look through another one, name it {mend}",
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
            "{}: `{key}`: expected {expected} values, the model's `{name}`, found {found}; a training takes as many as there are by its model's setting `{name}`",
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

/// Refuses recordings of other actions than a model learnt from, where both say between what they lie: moves are no places. A value that
/// never moved tells nothing, one that hardly did is no proof.
pub(crate) fn units(learnt: &ActionScale, dataset: &Dataset) -> Result<()> {
    let Some(found) = dataset.statistics().get(ACTION) else {
        return Ok(());
    };
    let learnt = learnt.low.iter().zip(&learnt.high);
    let learnt = learnt.map(|(&low, &high)| [f64::from(low), f64::from(high)]);
    let found = found.min.iter().zip(&found.max);
    let both: Vec<_> = learnt
        .zip(found.map(|(&low, &high)| [low, high]))
        .filter(|([low, high], [least, most])| high > low && most > least)
        .collect();
    let ratio = |([low, high], [least, most]): &([f64; 2], [f64; 2])| (high - low) / (most - least);
    let most_apart = f64::from(MOST_APART);
    let apart = both.iter().all(|both| ratio(both) > most_apart)
        || both.iter().all(|both| ratio(both) < 1.0 / most_apart);
    if let (true, Some(([low, high], [least, most]))) = (apart, both.first()) {
        bail!(
            "{}: actions: expected the units of the recordings that the model learnt from, which reach from {low} to {high}, found {least} to {most}",
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
        let whole = |side, transforms: &[ImageTransform]| {
            let fits = dataset(&shape(side, 2), &wrist, &seen, transforms);
            fits.map_err(|error| format!("{error:#}"))
        };
        assert!(whole(SIDE, &[]).is_ok());
        let said = whole(32, &[]).unwrap_err();
        let expected = "expected pictures of 32 x 32, the model's `image_size`, found 64 x 64";
        assert!(
            said.contains(expected) && said.contains("`transforms`"),
            "{said}"
        );
        let resize = ImageTransform::Resize {
            height: 32,
            width: 32,
        };
        assert!(whole(32, &[resize]).is_ok());
        let part = |shape: &Shape, camera: &str| {
            features(shape, &[camera.to_owned()], &seen).map_err(|error| error.to_string())
        };
        assert!(part(&shape(32, 2), "wrist").is_ok(), "a resize may follow");
        let said = part(&shape(SIDE, 2), "top").unwrap_err();
        let lacks = "seen: expected camera `top`, which the model looks through, found wrist";
        assert!(said.contains(lacks), "{said}");
        assert!(said.ends_with("to look through another one, name it by `cameras`"));
        let said = dataset(&shape(SIDE, 2), &["top".to_owned()], &seen, &[]).unwrap_err();
        let mend = "to look through another one, name it in the checkpoint's config.json";
        assert!(said.to_string().ends_with(mend), "{said}");
        assert!(rate(None, &seen).is_ok() && rate(Some(10.0), &seen).is_ok());
        let said = rate(Some(30.0), &seen).unwrap_err().to_string();
        let rates = "expected 30 Hz, as in the recordings that the model learnt from, found 10 Hz";
        assert!(said.contains(rates), "{said}");
        let said = part(&shape(SIDE, 3), "wrist").unwrap_err();
        assert!(
            said.contains("expected 3 values, the model's `action`, found 2"),
            "{said}"
        );
    }
}
