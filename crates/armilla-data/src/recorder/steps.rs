//! Recording step by step, waiting for the encoders or in real time.

use super::camera::Encoding;
use super::episode::{self, EpisodeInProgress, clean_up};
use super::{Added, Frame, Recorder, SavedEpisode};
use crate::error::{Error, Result};

impl Recorder {
    /// Adds a step to the episode in progress, beginning one if there is none. It waits while a camera's queue is full, so
    /// that nothing is ever left out; the same steps give the same files.
    ///
    /// # Errors
    ///
    /// When the frame does not fit the schema (nothing is added then). When the disk refuses, with this step or one before
    /// it: the episode is lost then, and every step refused until [`Self::discard_episode`] or [`Self::save_episode`].
    pub fn add(&mut self, frame: &Frame<'_>) -> Result<()> {
        self.begin_with(frame)?;
        self.push(frame)
    }

    /// Adds a step in real time: it never waits for an encoder. When a camera's queue is full, the step is left out for all
    /// cameras and columns, so that they stay aligned, and counted in [`SavedEpisode::dropped`].
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub fn try_add(&mut self, frame: &Frame<'_>) -> Result<Added> {
        self.begin_with(frame)?;
        if let Some(current) = &mut self.current
            && let Some(camera) = current.full_camera()
        {
            let camera = camera.to_owned();
            if current.leave_out() == 1 {
                let index = self.info.total_episodes;
                tracing::warn!(
                    "episode {index}: a step is dropped, for camera `{camera}` is encoded more slowly than it is recorded"
                );
            }
            return Ok(Added::Dropped);
        }
        self.push(frame)?;
        Ok(Added::Kept)
    }

    /// Checks a step and makes sure that there is an episode to add it to.
    fn begin_with(&mut self, frame: &Frame<'_>) -> Result<()> {
        if let Some(cause) = &self.failed {
            let problem = format!("the episode in progress is lost, discard it: {cause}");
            return Err(Error::OutOfOrder(problem));
        }
        episode::check(frame, &self.config)?;
        if self.current.is_none() {
            self.check_folder()?;
            let index = self.info.total_episodes;
            let begun =
                EpisodeInProgress::begin(&self.root, index, &self.config, Encoding::Beside)?;
            self.current = Some(begun);
        }
        Ok(())
    }

    fn push(&mut self, frame: &Frame<'_>) -> Result<()> {
        let Some(mut current) = self.current.take() else {
            return Ok(());
        };
        match current.push(frame, &self.config) {
            Ok(()) => self.current = Some(current),
            Err(error) => {
                current.discard();
                self.failed = Some(error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Waits until the episode in progress is encoded and on the disk: from here on no crash loses it.
    ///
    /// # Errors
    ///
    /// When the episode has no frame, or the disk refuses; the episode is lost then, unless [`Recorder::episodes`] counts it, those before it are not.
    pub fn save_episode(&mut self) -> Result<SavedEpisode> {
        if let Some(cause) = self.failed.take() {
            let problem = format!("the episode to save is lost: {cause}");
            return Err(Error::OutOfOrder(problem));
        }
        let current = self.current.take();
        let current = current
            .ok_or_else(|| Error::OutOfOrder("the episode to save has no frame".to_owned()))?;
        let (saved, folder) = (current.summary(), current.folder().to_owned());
        let committed = current
            .finish(&self.config)
            .and_then(|prepared| self.commit(vec![prepared]));
        if let Err(error) = committed {
            // What it has written is of no use, and the disk may be full of it.
            clean_up(&folder);
            return Err(error);
        }
        if saved.dropped > 0 {
            let SavedEpisode {
                index,
                frames,
                dropped,
            } = saved;
            tracing::warn!("episode {index}: {frames} steps recorded, {dropped} dropped");
        }
        Ok(saved)
    }

    /// Forgets the episode in progress.
    pub fn discard_episode(&mut self) {
        self.failed = None;
        if let Some(current) = self.current.take() {
            current.discard();
        }
    }
}
