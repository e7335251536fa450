//! Pictures of a window: from the cache, or decoded.

use std::sync::Arc;

use armilla_core::features::DataType;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::transform::Resizing;
use crate::dataset::Dataset;
use crate::error::{Error, Result};

/// Bytes that the cache needs for a picture beside its pixels, roughly.
const OVERHEAD: u64 = 64;

/// One picture of one dataset's camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    dataset: u32,
    camera: u32,
    /// Number of the frame in the whole dataset.
    frame: u64,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Arc<[u8]>> for Bytes {
    fn weight(&self, _: &Key, picture: &Arc<[u8]>) -> u64 {
        picture.len() as u64 + OVERHEAD
    }
}

/// Pictures that were decoded and resized, as long as there is room for them.
pub(super) struct Frames {
    cache: Option<Cache<Key, Arc<[u8]>, Bytes>>,
    limit_bytes: u64,
}

/// A camera of a dataset, and what becomes of its pictures before they are kept.
pub(super) struct Camera {
    pub(super) dataset: Arc<Dataset>,
    /// Position of the dataset among the loader's.
    pub(super) source: usize,
    /// Position of the camera among the loader's.
    pub(super) camera: usize,
    /// Feature key.
    pub(super) key: String,
    pub(super) resizing: Resizing,
}

impl Frames {
    /// Keeps pictures of some size in so many bytes; none where not even a few fit.
    pub(super) fn new(limit_bytes: u64, picture: usize) -> Self {
        let each = picture as u64 + OVERHEAD;
        let items = usize::try_from(limit_bytes / each.max(1)).unwrap_or(usize::MAX);
        let cache = (items >= 64).then(|| Cache::with_weighter(items, limit_bytes, Bytes));
        Self { cache, limit_bytes }
    }

    /// Whether so many pictures of some size could all be kept.
    pub(super) fn holds(&self, pictures: u64, picture: usize) -> bool {
        // The cache keeps its entries in parts that do not fill evenly.
        let needed = pictures.saturating_mul(picture as u64 + OVERHEAD);
        self.cache.is_some() && needed.saturating_add(needed / 8) <= self.limit_bytes
    }

    /// Writes the pictures of an episode's `frames` one after the other; equal frames may follow each other.
    pub(super) fn write(
        &self,
        camera: &Camera,
        episode: usize,
        frames: &[usize],
        pictures: &mut [u8],
    ) -> Result<()> {
        let size = camera.resizing.picture_len();
        let key = |frame: usize| self.key(camera, episode, frame);
        let mut missing: Vec<usize> = Vec::new();
        for (&frame, picture) in frames.iter().zip(pictures.chunks_exact_mut(size)) {
            let known = self.cache.as_ref().and_then(|cache| cache.get(&key(frame)));
            match known {
                Some(known) => picture.copy_from_slice(&known),
                None => missing.push(frame),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        missing.dedup();
        let mut write = |frame: usize, decoded: &dyn Fn(&mut [u8]) -> Result<()>| {
            let places: Vec<_> = (0..frames.len())
                .filter(|&place| frames[place] == frame)
                .collect();
            let first = places.first().map(|&place| place * size);
            if let Some(first) = first {
                decoded(&mut pictures[first..first + size])?;
                for &place in &places[1..] {
                    pictures.copy_within(first..first + size, place * size);
                }
            }
            let Some(cache) = &self.cache else {
                return Ok(());
            };
            let picture = match first {
                Some(first) => Arc::from(&pictures[first..first + size]),
                None => {
                    let mut picture = vec![0; size];
                    decoded(&mut picture)?;
                    Arc::from(picture)
                }
            };
            cache.insert(key(frame), picture);
            Ok(())
        };
        decode(camera, episode, &missing, &mut write)
    }

    /// Decodes an episode into the cache.
    pub(super) fn preload(&self, camera: &Camera, episode: usize) -> Result<()> {
        let frames: Vec<_> = (0..camera.dataset.reader().episode(episode)?.length).collect();
        decode(camera, episode, &frames, &mut |frame, decoded| {
            let mut picture = vec![0; camera.resizing.picture_len()];
            decoded(&mut picture)?;
            if let Some(cache) = &self.cache {
                let key = self.key(camera, episode, frame);
                cache.insert(key, Arc::from(picture));
            }
            Ok(())
        })
    }

    fn key(&self, camera: &Camera, episode: usize, frame: usize) -> Key {
        let first = camera.dataset.episodes()[episode].first_index;
        Key {
            dataset: camera.source as u32,
            camera: camera.camera as u32,
            frame: (first + frame) as u64,
        }
    }
}

/// Given a frame's number in its episode, and what writes its resized picture.
type Write<'a> = &'a mut dyn FnMut(usize, &dyn Fn(&mut [u8]) -> Result<()>) -> Result<()>;

/// Decodes frames of an episode, which rise, and hands them on with those that they are built upon.
fn decode(camera: &Camera, episode: usize, frames: &[usize], write: Write<'_>) -> Result<()> {
    let (reader, key) = (camera.dataset.reader(), camera.key.as_str());
    let resizing = &camera.resizing;
    if reader.feature(key)?.data_type != DataType::Video {
        // Frames that follow each other are read from the table at once.
        for run in frames.chunk_by(|before, frame| before + 1 == *frame) {
            let images = reader.images(episode, key, run[0]..run[0] + run.len())?;
            for (&frame, image) in run.iter().zip(&images) {
                write(frame, &|picture| resizing.write(image.data(), picture))?;
            }
        }
        return Ok(());
    }
    let (index, shown) = reader.episode_video(reader.episode(episode)?, key)?;
    let wanted: Vec<_> = frames.iter().map(|frame| shown.start + frame).collect();
    let expected = resizing.source();
    reader
        .decoders
        .decode(&index, &wanted, &mut |position, decoded| {
            // A group of pictures may begin before the episode or end after it.
            if !shown.contains(&position) {
                return Ok(());
            }
            if decoded.size() != expected {
                let found = decoded.size();
                let problem =
                    format!("`{key}`: expected pictures of {expected:?}, found {found:?}");
                return Err(Error::file(&index.path, problem));
            }
            write(position - shown.start, &|picture| {
                if resizing.is_none() {
                    return decoded.write_rgb(picture);
                }
                let mut rgb = vec![0; expected[0] * expected[1] * 3];
                decoded.write_rgb(&mut rgb)?;
                resizing.write(&rgb, picture)
            })
        })
}
