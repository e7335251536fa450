//! Decoded episodes in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::dataset::{Dataset, Rows};
use crate::error::{Error, Result};

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Camera by name or key; the first one if none.
    pub camera: Option<String>,
    /// Episode numbers, in the order in which they are kept; all if none. Splits are made here.
    pub episodes: Option<Vec<usize>>,
    /// Bytes of pictures that may be held.
    pub memory_limit_bytes: u64,
}

impl Default for StoreConfig {
    /// All episodes from the first camera, in 2 GiB at most.
    fn default() -> Self {
        Self {
            camera: None,
            episodes: None,
            memory_limit_bytes: 2 << 30,
        }
    }
}

/// One decoded episode.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEpisode {
    /// Its number in the dataset.
    pub index: usize,
    /// Frames.
    pub length: usize,
    /// Pictures, RGB8, `[time, height, width, channel]`.
    pub images: Vec<u8>,
    /// Proprioception, `[time, state]`.
    pub states: Rows,
    /// Actions, `[time, action]`.
    pub actions: Rows,
    /// Its (first) instruction.
    pub instruction: String,
}

impl StoredEpisode {
    /// The bytes of one picture, `[height, width, channel]`.
    ///
    /// # Panics
    ///
    /// When the episode is not that long.
    #[must_use]
    pub fn image(&self, frame: usize) -> &[u8] {
        let picture = self.images.len() / self.length;
        &self.images[frame * picture..][..picture]
    }
}

/// Episodes decoded into memory, pictures as bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameStore {
    height: usize,
    width: usize,
    episodes: Vec<StoredEpisode>,
}

impl FrameStore {
    /// Decodes episodes, side by side. `progress` is told how many episodes of how many are done.
    ///
    /// # Errors
    ///
    /// When the pictures need more memory than allowed (said before any is decoded), an episode or camera does not
    /// exist, or a file cannot be read.
    pub fn load(
        dataset: &Dataset,
        config: &StoreConfig,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self> {
        let key = match &config.camera {
            Some(camera) => dataset.camera_key(camera)?,
            None => dataset.first_camera()?,
        };
        let shape = &dataset.features().0[&key].shape;
        let (height, width) = (shape[0], shape[1]);
        let all = || (0..dataset.episodes().len()).collect();
        let numbers = config.episodes.clone().unwrap_or_else(all);
        check_memory(dataset, config, &numbers, height * width * 3)?;
        let done = AtomicUsize::new(0);
        let load = |&index: &usize| {
            let episode = load_episode(dataset, &key, index)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, numbers.len());
            Ok(episode)
        };
        let episodes: Result<Vec<_>> = numbers.par_iter().map(load).collect();
        Ok(Self {
            height,
            width,
            episodes: episodes?,
        })
    }

    /// Rows of a picture.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of a picture.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes of a picture.
    #[must_use]
    pub fn picture_len(&self) -> usize {
        self.height * self.width * 3
    }

    /// The episodes, in the order in which they were asked for.
    #[must_use]
    pub fn episodes(&self) -> &[StoredEpisode] {
        &self.episodes
    }
}

fn check_memory(
    dataset: &Dataset,
    config: &StoreConfig,
    numbers: &[usize],
    picture: usize,
) -> Result<()> {
    let mut frames = 0;
    for &number in numbers {
        let episode = dataset.episodes().get(number);
        let episode = episode.ok_or_else(|| {
            let expected = format!("below {}", dataset.episodes().len());
            Error::invalid("episode of the selection", expected, number)
        })?;
        frames += episode.length as u64;
    }
    let needed = frames * picture as u64;
    if needed > config.memory_limit_bytes {
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        return Err(Error::invalid(
            format!(
                "{}: memory of {frames} decoded frames",
                dataset.root().display()
            ),
            format!(
                "at most {} MiB (raise the limit or select fewer episodes)",
                config.memory_limit_bytes >> 20
            ),
            format!("{} MiB", mebibytes(needed)),
        ));
    }
    Ok(())
}

fn load_episode(dataset: &Dataset, key: &str, index: usize) -> Result<StoredEpisode> {
    let episode = &dataset.episodes()[index];
    let pictures = dataset.images(index, key)?;
    let mut images = Vec::with_capacity(pictures.iter().map(|image| image.data().len()).sum());
    for picture in &pictures {
        images.extend_from_slice(picture.data());
    }
    let has = |key: &str| dataset.features().0.contains_key(key);
    let rows = |key: &str, read: &dyn Fn() -> Result<Rows>| match has(key) {
        true => read(),
        false => Ok(Rows::default()),
    };
    Ok(StoredEpisode {
        index,
        length: episode.length,
        images,
        states: rows(armilla_core::features::STATE, &|| dataset.states(index))?,
        actions: rows(armilla_core::features::ACTION, &|| dataset.actions(index))?,
        instruction: episode.instruction().to_owned(),
    })
}
