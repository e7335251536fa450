//! Reading a dataset.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use armilla_core::features::{ACTION, Features, IMAGE_PREFIX, STATE};
use armilla_core::{Image, Statistics};
use sha2::{Digest as _, Sha256};

use crate::column::Column;
use crate::episodes::Episode;
use crate::error::{Error, Result};
use crate::info::Info;
use crate::layout::{INFO, RECORDING, TASKS, files_below};
use crate::reader::Reader;
use crate::recover::{Recovered, recover};
use crate::types::videos;
use crate::video::costs::DecodingCosts;
use crate::video::decode::Decoders;
use crate::{statistics, tasks};

/// Rows of equal width: one a frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Values in a row.
    pub width: usize,
    /// Row after row, `[time, width]`.
    pub values: Vec<f32>,
}

impl Rows {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One row.
    ///
    /// # Panics
    ///
    /// When there are not that many.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..][..self.width]
    }
}

/// A dataset on disk, open for reading. Sharing it among threads is fine.
pub struct Dataset {
    reader: Reader,
    episodes: Vec<Episode>,
    tasks: Vec<String>,
    statistics: Statistics,
    recovered: Option<Recovered>,
}

impl Dataset {
    /// Opens a LeRobotDataset v3.0. What an interrupted recording left is put right first ([`Self::recovered`]).
    ///
    /// # Errors
    ///
    /// When there is none, a metadata file is missing or cut short (named), or it holds a kind that is not
    /// supported (named).
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(root.as_ref(), statistics::read)
    }

    /// The same without the statistics of the whole, which may be broken: to have them counted anew.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_to_recount(root: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(root.as_ref(), |_| Ok(Statistics::new()))
    }

    fn open_with(root: &Path, statistics: fn(&Path) -> Result<Statistics>) -> Result<Self> {
        let recovered = recover(root)?;
        let info = Info::read(root)?;
        let empty = info.total_episodes == 0;
        let reader = Reader::open(root, info, false)?;
        let counted = reader.records.len();
        // Whoever wrote such a dataset anew would lose them. A recorder may have counted them meanwhile.
        let uncounted = reader.uncounted > 0 && !root.join(RECORDING).exists();
        if uncounted && Info::read(root)?.total_episodes == counted {
            let found = reader.uncounted;
            return Err(Error::File {
                path: root.join(INFO),
                problem: format!(
                    "it counts {counted} episodes, and there is metadata of {found} more"
                ),
                remedy:
                    "copy it again from its source, or have it counted by `armilla dataset repair`"
                        .to_owned(),
            });
        }
        let tasks = match tasks::read(root) {
            // A recorder writes the first instruction with the first episode.
            Err(_) if empty && !root.join(TASKS).exists() => Vec::new(),
            found => found?,
        };
        Ok(Self {
            episodes: reader
                .records
                .iter()
                .map(|record| record.episode.clone())
                .collect(),
            statistics: statistics(root)?,
            tasks,
            reader,
            recovered,
        })
    }

    /// Its files.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Where it lies.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.reader.root
    }

    /// Its description.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.reader.info
    }

    /// Its schema, without the automatic features.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.reader.info.features
    }

    /// Frames a second.
    #[must_use]
    pub fn fps(&self) -> u32 {
        self.reader.info.fps
    }

    /// Its episodes, in order.
    #[must_use]
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// Its instructions, by task index.
    #[must_use]
    pub fn tasks(&self) -> &[String] {
        &self.tasks
    }

    /// Statistics over all episodes, by feature key (automatic features included); empty if there are none yet.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// What an interrupted (or a running) recording had left when it was opened.
    #[must_use]
    pub fn recovered(&self) -> Option<&Recovered> {
        self.recovered.as_ref()
    }

    /// Proprioception of an episode, `[time, state]`.
    ///
    /// # Errors
    ///
    /// As [`Self::numbers`].
    pub fn states(&self, episode: usize) -> Result<Rows> {
        self.rows(episode, STATE)
    }

    /// Actions of an episode, `[time, action]`.
    ///
    /// # Errors
    ///
    /// As [`Self::numbers`].
    pub fn actions(&self, episode: usize) -> Result<Rows> {
        self.rows(episode, ACTION)
    }

    fn rows(&self, episode: usize, key: &str) -> Result<Rows> {
        let values = self.numbers(episode, key)?;
        Ok(Rows {
            width: self.features().width(key),
            values: values.into_iter().map(|value| value as f32).collect(),
        })
    }

    /// Any column of numbers (`next.reward`, `timestamp`, `task_index`, ...) of an episode, row after row.
    ///
    /// # Errors
    ///
    /// When the episode or the column does not exist, the column is no numbers, or the file is missing or cut short.
    pub fn numbers(&self, episode: usize, key: &str) -> Result<Vec<f64>> {
        let mut columns = self.reader.numbers(episode, &[key])?;
        Ok(columns.pop().unwrap_or_default())
    }

    /// The values of a feature over an episode, whatever their type; pictures kept as video have none, see
    /// [`Self::images`].
    ///
    /// # Errors
    ///
    /// When the episode or the feature does not exist, its values are not of the declared type and shape, or the file is
    /// missing or cut short.
    pub fn column(&self, episode: usize, key: &str) -> Result<Column> {
        let mut columns = self.reader.columns(episode, &[key])?;
        let empty = || Error::invalid("feature", "values in the frame tables", key);
        columns.pop().ok_or_else(empty)
    }

    /// The feature key of a camera, given by its name (`top`) or by its key (`observation.images.top`).
    ///
    /// # Errors
    ///
    /// When there is no such camera.
    pub fn camera_key(&self, camera: &str) -> Result<String> {
        let named = format!("{IMAGE_PREFIX}{camera}");
        let mut known: Vec<_> = self.cameras().collect();
        match known
            .iter()
            .position(|key| [named.as_str(), camera].contains(key))
        {
            Some(index) => Ok(known.swap_remove(index).to_owned()),
            None => {
                let expected = format!("one of {known:?}");
                Err(Error::invalid("camera", expected, camera))
            }
        }
    }

    /// The keys of all cameras, kept as video or picture by picture.
    pub fn cameras(&self) -> impl Iterator<Item = &str> {
        let features = self.features().0.iter();
        features
            .filter(|(_, feature)| feature.data_type.is_picture())
            .map(|(key, _)| key.as_str())
    }

    /// The key of the first camera, in the order of the keys.
    ///
    /// # Errors
    ///
    /// When there is no camera.
    pub fn first_camera(&self) -> Result<String> {
        let first = self.cameras().next().map(str::to_owned);
        let root = self.root().display();
        first.ok_or_else(|| Error::invalid(format!("{root}: features"), "a camera", "none"))
    }

    /// All pictures of an episode from one camera, given by name or key.
    ///
    /// # Errors
    ///
    /// When the episode or camera does not exist, the video is missing or cut short, or its codec is not supported.
    pub fn images(&self, episode: usize, camera: &str) -> Result<Vec<Image>> {
        let key = self.camera_key(camera)?;
        let frames = 0..self.reader.episode(episode)?.length;
        self.reader.images(episode, &key, frames)
    }

    /// Some pictures of an episode from one camera, given by name or key.
    ///
    /// # Errors
    ///
    /// As [`Self::images`], and when the episode is not that long.
    pub fn images_in(
        &self,
        episode: usize,
        camera: &str,
        frames: Range<usize>,
    ) -> Result<Vec<Image>> {
        let key = self.camera_key(camera)?;
        self.reader.images(episode, &key, frames)
    }

    /// Decodes an episode's videos of all cameras and drops what comes out: the bare decoder, to compare others with.
    ///
    /// # Errors
    ///
    /// As [`Self::images`].
    pub fn decode_bare(&self, episode: usize) -> Result<DecodingCosts> {
        let decoders = Decoders::default();
        for (key, _) in videos(self.features()) {
            let (index, shown) = self
                .reader
                .episode_video(self.reader.episode(episode)?, key)?;
            let wanted: Vec<_> = shown.collect();
            decoders.decode(&index, &wanted, &mut |_, _| Ok(()))?;
        }
        Ok(decoders.costs.so_far())
    }

    /// One picture of an episode; as [`Self::images`].
    ///
    /// # Errors
    ///
    /// As [`Self::images`], and when the episode is not that long.
    pub fn image(&self, episode: usize, camera: &str, frame: usize) -> Result<Image> {
        let key = self.camera_key(camera)?;
        let mut images = self.reader.images(episode, &key, frame..frame + 1)?;
        let missing = || Error::invalid(format!("{key}: frame {frame}"), "a picture", "none");
        images.pop().ok_or_else(missing)
    }

    /// The episode that holds a frame of the whole dataset, and the frame's number in it.
    ///
    /// # Errors
    ///
    /// When there are not that many frames.
    pub fn find(&self, index: usize) -> Result<(usize, usize)> {
        let after = self
            .episodes
            .partition_point(|episode| episode.first_index <= index);
        let found = after.checked_sub(1).map(|episode| &self.episodes[episode]);
        match found.filter(|episode| index - episode.first_index < episode.length) {
            Some(episode) => Ok((episode.index, index - episode.first_index)),
            None => {
                let frames: usize = self.episodes.iter().map(|episode| episode.length).sum();
                let what = format!("{}: frame", self.root().display());
                Err(Error::invalid(what, format!("below {frames}"), index))
            }
        }
    }

    /// SHA-256 of all frame tables, videos, instructions and the description, in hexadecimal. The same episodes
    /// recorded anew give the same hash.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn content_hash(&self) -> Result<String> {
        let mut files = Vec::new();
        for folder in ["data", "meta", "videos"] {
            files.extend(files_below(&self.root().join(folder))?);
        }
        let mut hasher = Sha256::new();
        for path in files {
            let name = path.strip_prefix(self.root()).unwrap_or(&path);
            hasher.update(name.to_string_lossy().as_bytes());
            let mut file = File::open(&path).map_err(Error::io("read", &path))?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                let read = file.read(&mut buffer).map_err(Error::io("read", &path))?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
            }
        }
        let digest = hasher.finalize();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
