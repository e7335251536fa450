//! Joins videos of the same camera into one mp4 without encoding anew.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use muxide::api::{Muxer, MuxerBuilder, VideoCodec};

use super::demux::{Codec, VideoIndex, with_start_codes};
use crate::error::{Error, Result};

/// An mp4 with its index in front, being joined from others.
pub(crate) struct VideoJoiner<'a> {
    path: &'a Path,
    muxer: Muxer<BufWriter<File>>,
    codec: Codec,
    fps: u32,
    frames: u64,
    bytes: u64,
}

impl<'a> VideoJoiner<'a> {
    /// Creates the file, for videos coded like `first`.
    pub(crate) fn create(
        path: &'a Path,
        first: &VideoIndex,
        (height, width): (usize, usize),
        fps: u32,
    ) -> Result<Self> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        let muxer = MuxerBuilder::new(BufWriter::new(file))
            .video(
                VideoCodec::H264,
                width as u32,
                height as u32,
                f64::from(fps),
            )
            .with_fast_start(true)
            .build()
            .map_err(|error| Error::write(path, error))?;
        Ok(Self {
            path,
            muxer,
            codec: first.codec.clone(),
            fps,
            frames: 0,
            bytes: 0,
        })
    }

    /// Whether a video can be joined: its decoder's parameters must be the same.
    pub(crate) fn fits(&self, index: &VideoIndex) -> bool {
        self.codec == index.codec
    }

    /// Bytes of pictures so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Time after the last frame so far, in seconds.
    pub(crate) fn end_secs(&self) -> f64 {
        self.frames as f64 / f64::from(self.fps)
    }

    /// Appends some frames of a video, given by packet numbers.
    pub(crate) fn append(
        &mut self,
        index: &VideoIndex,
        packets: std::ops::Range<usize>,
    ) -> Result<()> {
        let Codec::H264 {
            parameters,
            length_bytes,
        } = &index.codec
        else {
            return Err(Error::write(self.path, "only H.264 is joined"));
        };
        for (data, packet) in index.read_packets(packets.clone())?.iter().zip(packets) {
            let mut stream = Vec::with_capacity(data.len() + parameters.len() + 16);
            if self.frames == 0 {
                stream.extend_from_slice(parameters);
            }
            with_start_codes(&index.path, data, *length_bytes, &mut stream)?;
            self.muxer
                .write_video(self.end_secs(), &stream, index.packets[packet].is_key)
                .map_err(|error| Error::write(self.path, error))?;
            self.frames += 1;
            self.bytes += data.len() as u64;
        }
        Ok(())
    }

    /// Writes the file and brings it to the disk.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.muxer
            .finish_in_place()
            .map_err(|error| Error::write(self.path, error))?;
        let file = self
            .muxer
            .into_writer()
            .into_inner()
            .map_err(|error| Error::write(self.path, error))?;
        file.sync_all().map_err(Error::io("sync", self.path))
    }
}
