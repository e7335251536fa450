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
