//! One camera of an episode: its pictures are encoded where they are handed in, or by a thread of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use armilla_core::features::{DataType, Feature};
use armilla_core::{FeatureStatistics, Image};

use super::RecorderConfig;
use crate::column::Column;
use crate::error::{Error, Result};
use crate::pictures;
use crate::statistics::PictureCounter;
use crate::video::encode::VideoWriter;

/// Who encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The thread that hands the pictures in: whole episodes side by side have no use for more threads.
    Here,
    /// A thread for each camera.
    Beside,
}

/// A camera's pictures on their way into an episode.
pub(super) enum Camera {
    Here(CameraWriter),
    Beside(CameraThread),
}

/// What a camera's pictures have become.
pub(super) struct CameraFile {
    pub(super) pictures: Encoded,
    /// Of all pictures; none if there was none.
    pub(super) statistics: Option<FeatureStatistics>,
}

/// Where a camera's encoded pictures are.
pub(super) enum Encoded {
    Video(PathBuf),
    Table(Column),
}

impl Camera {
    /// Creates the camera's file, if it has one, in the episode's folder.
    pub(super) fn begin(
        name: &str,
        feature: &Feature,
        folder: &Path,
        config: &RecorderConfig,
        encoding: Encoding,
    ) -> Result<Self> {
        let path = folder.join(format!("{name}.mp4"));
        let pictures = match feature.data_type {
            DataType::Video => {
                let writer = VideoWriter::create(&path, config.fps, config.quality)?;
                Pictures::Video(path.clone(), Box::new(writer))
            }
            _ => Pictures::Table(Vec::new()),
        };
        let writer = CameraWriter {
            pictures,
            counter: PictureCounter::new(),
        };
        Ok(match encoding {
            Encoding::Here => Self::Here(writer),
            Encoding::Beside => Self::Beside(CameraThread::start(
                name,
                path,
                writer,
                config.queue_frames,
            )?),
        })
    }

    /// Whether a picture would be taken at once.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Beside(thread) => thread.has_room(),
        }
    }

    /// Adds a picture, waiting for room. An error may come of one that was added before.
    pub(super) fn push(&mut self, image: &Image) -> Result<()> {
        match self {
            Self::Here(writer) => writer.push(image),
            Self::Beside(thread) => thread.push(image.clone()),
        }
    }

    /// Waits until all pictures are encoded and written.
    pub(super) fn finish(self) -> Result<CameraFile> {
        match self {
            Self::Here(writer) => writer.finish(),
            Self::Beside(mut thread) => thread.finish(),
        }
    }
}

/// Encodes and counts pictures.
pub(super) struct CameraWriter {
    pictures: Pictures,
    counter: PictureCounter,
}

/// Where the pictures go.
enum Pictures {
    /// Into a video file, encoded at once.
    Video(PathBuf, Box<VideoWriter>),
    /// Into the frame table, as PNG files that wait in memory.
    Table(Vec<Vec<u8>>),
}

impl CameraWriter {
    fn push(&mut self, image: &Image) -> Result<()> {
        match &mut self.pictures {
            Pictures::Video(_, writer) => writer.push(image)?,
            Pictures::Table(files) => files.push(pictures::encode(image)?),
        }
        self.counter.add(image);
        Ok(())
    }

    fn finish(self) -> Result<CameraFile> {
        let pictures = match self.pictures {
            Pictures::Video(path, writer) => {
                writer.finish()?;
                Encoded::Video(path)
            }
            Pictures::Table(files) => Encoded::Table(Column(pictures::array(&files)?)),
        };
        Ok(CameraFile {
            pictures,
            statistics: self.counter.finish(),
        })
    }
}

/// A thread that encodes one camera's pictures, and the queue before it.
pub(super) struct CameraThread {
    /// What it writes, for errors.
    path: PathBuf,
    capacity: usize,
    /// Pictures that the thread has not taken yet; only [`Self::push`] makes them more.
    waiting: Arc<AtomicUsize>,
    cancelled: Arc<AtomicBool>,
    queue: Option<SyncSender<Image>>,
    thread: Option<JoinHandle<Result<CameraFile>>>,
}

impl CameraThread {
    fn start(name: &str, path: PathBuf, writer: CameraWriter, capacity: usize) -> Result<Self> {
        let (queue, pictures) = sync_channel(capacity);
        let waiting: Arc<AtomicUsize> = Arc::default();
        let cancelled: Arc<AtomicBool> = Arc::default();
        let (left, given_up) = (Arc::clone(&waiting), Arc::clone(&cancelled));
        let thread = thread::Builder::new()
            .name(format!("encode {name}"))
            .spawn(move || encode_all(writer, pictures, &left, &given_up))
            .map_err(Error::io("start a thread to write", &path))?;
        Ok(Self {
            path,
            capacity,
            waiting,
            cancelled,
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// A thread that has failed has room, so that the next picture brings its error to light.
    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Acquire) < self.capacity
            || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn push(&mut self, image: Image) -> Result<()> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let sent = self.queue.as_ref().map(|queue| queue.send(image));
        match sent {
            Some(Ok(())) => Ok(()),
            // The thread ends before its queue does only when it fails.
            _ => match self.finish() {
                Err(error) => Err(error),
                Ok(_) => Err(Error::write(&self.path, "its encoder has ended already")),
            },
        }
    }

    fn finish(&mut self) -> Result<CameraFile> {
        self.queue = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::write(&self.path, "its encoder panicked")),
            None => Err(Error::write(&self.path, "its encoder has ended already")),
        }
    }
}

impl Drop for CameraThread {
    /// An episode that is given up leaves no thread behind that writes to its files.
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Release);
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // What it would say is of an episode that nobody wants any more.
            drop(thread.join());
        }
    }
}

/// Takes pictures until the queue is closed or the episode given up.
fn encode_all(
    mut writer: CameraWriter,
    pictures: Receiver<Image>,
    waiting: &AtomicUsize,
    cancelled: &AtomicBool,
) -> Result<CameraFile> {
    for image in pictures {
        waiting.fetch_sub(1, Ordering::AcqRel);
        if cancelled.load(Ordering::Acquire) {
            break;
        }
        writer.push(&image)?;
    }
    writer.finish()
}
