//! What a checkpoint keeps of a loader.

use armilla_core::features::{ACTION, STATE, camera_key};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::WindowLoader;

/// What must be the same for the same batches to come. The step, which the trainer counts, is the rest: batches are a pure
/// function of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LoaderState {
    /// Seed of the order and of everything that is drawn.
    pub seed: u64,
    /// Windows a batch.
    pub batch_size: usize,
    /// Distinct windows.
    pub windows: usize,
    /// What a window holds, cameras and transforms included.
    pub spec: String,
    /// The datasets, in order.
    pub datasets: Vec<DatasetState>,
    /// SHA-256 of the statistics that models scale by, of cameras, states and actions, in hexadecimal.
    #[serde(default)]
    pub statistics: String,
}

/// What a checkpoint keeps of a dataset.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DatasetState {
    /// Episodes that windows are cut from.
    pub episodes: usize,
    /// Their frames.
    pub frames: u64,
    /// How often it is drawn beside the others.
    pub weight: Option<f64>,
    /// Where the pictures of each of the loader's cameras are taken from; none where it has no such camera.
    #[serde(default)]
    pub cameras: Vec<Option<String>>,
    /// SHA-256 of their numbers, lengths, instructions, states and actions, in hexadecimal.
    pub hash: String,
}

impl WindowLoader {
    /// What a checkpoint keeps.
    #[must_use]
    pub fn state(&self) -> LoaderState {
        let (spec, transforms) = (&self.config.spec, &self.config.transforms);
        let cameras: Vec<_> = self.cameras.iter().map(|camera| &camera.name).collect();
        let normalization = &self.config.normalization;
        let datasets = self.sources.iter().map(|source| {
            let mut hasher = Sha256::new();
            for (&episode, rows) in source.episodes.iter().zip(&source.rows) {
                let known = &source.dataset.episodes()[episode];
                hasher.update(format!(
                    "{episode} {} {:?} {:?}\n",
                    known.length, known.tasks, rows.tasks
                ));
                for value in rows.states.values.iter().chain(&rows.actions.values) {
                    hasher.update(value.to_le_bytes());
                }
            }
            let cameras = source.cameras.iter().map(Option::as_ref);
            DatasetState {
                episodes: source.episodes.len(),
                frames: source.frames(),
                weight: source.weight,
                cameras: cameras.map(|own| Some(own?.place.key.clone())).collect(),
                hash: hexadecimal(hasher),
            }
        });
        LoaderState {
            seed: self.config.seed,
            batch_size: self.config.batch_size,
            windows: self.len(),
            spec: format!("{spec:?}, cameras {cameras:?}, {transforms:?}, {normalization:?}"),
            datasets: datasets.collect(),
            statistics: self.scaled_by(),
        }
    }

    /// The hash of what models scale by.
    fn scaled_by(&self) -> String {
        let statistics = self.statistics();
        let cameras = self.cameras.iter().map(|camera| camera_key(&camera.name));
        let mut hasher = Sha256::new();
        for key in cameras.chain([STATE, ACTION].map(str::to_owned)) {
            hasher.update(format!("{key} {:?}\n", statistics.get(&key)));
        }
        hexadecimal(hasher)
    }
}

fn hexadecimal(hasher: Sha256) -> String {
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
