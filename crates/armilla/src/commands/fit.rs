//! Whether a dataset is one that a world model can look at.

use anyhow::{Result, bail, ensure};
use armilla_core::features::{ACTION, STATE};
use armilla_data::Dataset;
use armilla_world::Shape;

/// Checks cameras, size of pictures, and widths of action and state.
pub(crate) fn dataset(shape: &Shape, cameras: &[String], dataset: &Dataset) -> Result<()> {
    let root = dataset.root().display();
    let side = shape.image_size;
    for camera in cameras {
        let mut known = dataset.features().cameras();
        let Some((_, feature)) = known.find(|(name, _)| name == camera) else {
            let found: Vec<_> = dataset.features().cameras().map(|(name, _)| name).collect();
            bail!(
                "{root}: expected camera `{camera}`, which the model looks through, found {}; a training takes another by `cameras`",
                found.join(", ")
            );
        };
        ensure!(
            feature.shape[..2] == [side, side],
            "{root}: camera `{camera}`: expected pictures of {side} x {side}, the model's `image_size`, found {} x {}",
            feature.shape[0],
            feature.shape[1]
        );
    }
    for (key, name, expected) in [
        (ACTION, "action", shape.action),
        (STATE, "state", shape.state),
    ] {
        let found = dataset.features().width(key);
        ensure!(
            found == expected || expected == 0,
            "{root}: `{key}`: expected {expected} values, the model's `{name}`, found {found}"
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
