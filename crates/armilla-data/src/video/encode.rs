//! Pictures to H.264 in a fragmented mp4, streamed to disk.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use armilla_core::Image;
use muxide::codec::h264::{annexb_to_avcc, extract_avc_config};
use muxide::fragmented::{FragmentConfig, FragmentedMuxer};
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, ColorPrimaries, Complexity, Encoder, EncoderConfig, FrameRate, FrameType,
    IntraFramePeriod, MatrixCoefficients, QpRange, RateControlMode, TransferCharacteristics,
    VuiConfig,
};

use super::GROUP_OF_PICTURES;
use super::color::Yuv;
use crate::error::{Error, Result};

/// Time units from one frame to the next in a recorded file.
const FRAME_UNITS: u64 = 1000;
/// Frames written together: what a cut file may lose.
const FRAGMENT: usize = 32;

/// How finely pictures are kept.
///
/// It is H.264's quantiser: 12 is the finest that the encoder has, each 6 more halve the bytes, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality(u8);

impl Quality {
    /// Of 12 (finest) to 51 (coarsest).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] outside.
    pub fn new(quantizer: u8) -> Result<Self> {
        if (12..=51).contains(&quantizer) {
            Ok(Self(quantizer))
        } else {
            Err(Error::invalid(
                "video quality",
                "12 (finest) to 51 (coarsest)",
                quantizer,
            ))
        }
    }
}

impl Default for Quality {
    /// 16: small coloured objects keep their edges.
    fn default() -> Self {
        Self(16)
    }
}

/// One encoded frame, in the form mp4 keeps.
struct Packet {
    data: Vec<u8>,
    is_key: bool,
}

/// A video being written.
pub(crate) struct VideoWriter {
    path: PathBuf,
    file: File,
    encoder: Encoder,
    muxer: Option<FragmentedMuxer>,
    yuv: Yuv,
    waiting: Vec<Packet>,
    fps: u32,
    written: u64,
}

impl VideoWriter {
    /// Creates the file.
    pub(crate) fn create(path: &Path, fps: u32, quality: Quality) -> Result<Self> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        let config = encoder_config(fps, quality);
        let encoder = Encoder::with_api_config(OpenH264API::from_source(), config)
            .map_err(|error| Error::write(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            encoder,
            muxer: None,
            yuv: Yuv::default(),
            waiting: Vec::new(),
            fps,
            written: 0,
        })
    }

    /// Adds a picture of the same size as the ones before, with even sides.
    pub(crate) fn push(&mut self, image: &Image) -> Result<()> {
        self.yuv.fill(image.height(), image.width(), image.data());
        let failed = |error: &dyn std::fmt::Display| Error::write(&self.path, error);
        let stream = self
            .encoder
            .encode(&self.yuv)
            .map_err(|error| failed(&error))?;
        let is_key = matches!(stream.frame_type(), FrameType::IDR);
        let bytes = stream.to_vec();
        if bytes.is_empty() {
            return Err(failed(&"the encoder left a frame out"));
        }
        if self.muxer.is_none() {
            self.muxer = Some(self.begin(image, &bytes)?);
        }
        self.waiting.push(Packet {
            data: annexb_to_avcc(&bytes),
            is_key,
        });
        // Two stay back: the muxer takes a frame's duration from its neighbour in the same fragment.
        if self.waiting.len() >= FRAGMENT + 2 {
            self.write_fragment(FRAGMENT)?;
        }
        Ok(())
    }

    /// Writes the header once the encoder has said what it writes.
    fn begin(&mut self, image: &Image, bytes: &[u8]) -> Result<FragmentedMuxer> {
        let parameters = extract_avc_config(bytes)
            .ok_or_else(|| Error::write(&self.path, "the encoder gave no parameter sets"))?;
        let units = u32::try_from(FRAME_UNITS * u64::from(self.fps));
        let units = units.map_err(|error| Error::write(&self.path, error))?;
        let mut config = FragmentConfig::new(image.width() as u32, image.height() as u32, units);
        config.sps = parameters.sps;
        config.pps = parameters.pps;
        let mut muxer =
            FragmentedMuxer::new(config).map_err(|error| Error::write(&self.path, error))?;
        let header = muxer.init_segment();
        self.file
            .write_all(&header)
            .map_err(Error::io("write", &self.path))?;
        Ok(muxer)
    }

    fn write_fragment(&mut self, frames: usize) -> Result<()> {
        let Some(muxer) = &mut self.muxer else {
            return Ok(());
        };
        for packet in self.waiting.drain(..frames) {
            let time = self.written * FRAME_UNITS;
            muxer
                .write_video(time, time, &packet.data, packet.is_key)
                .map_err(|error| Error::write(&self.path, error))?;
            self.written += 1;
        }
        let segment = muxer.flush_segment().unwrap_or_default();
        self.file
            .write_all(&segment)
            .map_err(Error::io("write", &self.path))?;
        // What is written to a file without a name is lost, and the system does not say so.
        match self.path.try_exists() {
            Ok(false) => Err(Error::File {
                path: self.path.clone(),
                problem: "moved or removed while it was being written".to_owned(),
                remedy: "put its folder back and record the episode again".to_owned(),
            }),
            Ok(true) => Ok(()),
            Err(error) => Err(Error::io("look for", &self.path)(error)),
        }
    }

    /// Writes what is left; bringing the file to the disk is left to the caller.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.write_fragment(self.waiting.len())
    }
}

/// Constant quality, one thread (so that the same pictures give the same bytes), colours marked as BT.601.
///
/// Rate control by buffer is the one mode that neither leaves frames out nor warns that it cannot; with one quantiser to
/// choose from it has no say.
fn encoder_config(fps: u32, quality: Quality) -> EncoderConfig {
    let colors = VuiConfig::bt601()
        .color_primaries(ColorPrimaries::Smpte170M)
        .transfer_characteristics(TransferCharacteristics::Smpte170M)
        .matrix_coefficients(MatrixCoefficients::Smpte170M);
    EncoderConfig::new()
        .skip_frames(false)
        .max_frame_rate(FrameRate::from_hz(fps as f32))
        .bitrate(BitRate::from_bps(20_000_000))
        .rate_control_mode(RateControlMode::Bufferbased)
        .qp(QpRange::new(quality.0, quality.0))
        .complexity(Complexity::Low)
        .scene_change_detect(false)
        .adaptive_quantization(false)
        .background_detection(false)
        .intra_frame_period(IntraFramePeriod::from_num_frames(GROUP_OF_PICTURES))
        .num_threads(1)
        .vui(colors)
}

/// Checks that pictures of a size can be written as 4:2:0 video.
pub(crate) fn check_size(what: &str, shape: &[usize]) -> Result<()> {
    let fits = shape.len() == 3
        && shape[2] == 3
        && shape[..2]
            .iter()
            .all(|&side| side % 2 == 0 && (16..=2160).contains(&side));
    if fits {
        Ok(())
    } else {
        Err(Error::invalid(
            what,
            "a shape [height, width, 3] with even sides of 16 to 2160 pixels",
            format!("{shape:?}"),
        ))
    }
}
