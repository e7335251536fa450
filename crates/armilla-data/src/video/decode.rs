//! Frames of a video file to pictures.

use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use armilla_core::Image;
use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource as _;
use re_rav1d::dav1d;

use super::color::{ColorSpace, Matrix};
use super::costs::{Counters, DecodingCosts};
use super::demux::{Codec, VideoIndex, unsupported, with_start_codes};
use super::rgb::{Planes, write_rgb};
use crate::error::{Error, Result};

/// Decodes the frames at positions `shown` in the order in which they are shown. Frames of another shape than expected are refused
/// before any memory is taken for them.
pub(crate) fn decode(
    index: &VideoIndex,
    shown: Range<usize>,
    shape: Option<&[usize]>,
) -> Result<Vec<Image>> {
    let mut images = Vec::with_capacity(shown.len());
    let wanted: Vec<_> = shown.clone().collect();
    Decoders::default().decode(index, &wanted, &mut |position, decoded| {
        if shown.contains(&position) {
            let [height, width] = decoded.size();
            let found = [height, width, 3];
            if let Some(expected) = shape.filter(|expected| **expected != found) {
                let problem = format!("expected pictures of shape {expected:?}, found {found:?}");
                return Err(Error::file(&index.path, problem));
            }
            images.push(decoded.to_image()?);
        }
        Ok(())
    })?;
    Ok(images)
}

/// A frame as its decoder holds it.
pub(crate) struct Decoded<'a> {
    path: &'a Path,
    planes: Planes<'a>,
    space: ColorSpace,
    /// Time that went into its colours.
    colors: Cell<Duration>,
}

impl Decoded<'_> {
    /// Height and width.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.planes.height, self.planes.width]
    }

    /// Writes it as RGB, `[height, width, 3]`; `rgb` has room for exactly that.
    pub(crate) fn write_rgb(&self, rgb: &mut [u8]) -> Result<()> {
        let planes = &self.planes;
        let half = planes.height.div_ceil(2);
        let enough = |(data, stride): (&[u8], usize), rows: usize, columns: usize| {
            rows > 0 && stride >= columns && data.len() >= (rows - 1) * stride + columns
        };
        let whole = enough(planes.luma, planes.height, planes.width)
            && enough(planes.blue, half, planes.width.div_ceil(2))
            && enough(planes.red, half, planes.width.div_ceil(2));
        if !whole {
            return Err(Error::file(
                self.path,
                "the decoder gave a picture with missing rows",
            ));
        }
        let begin = Instant::now();
        write_rgb(planes, self.space, rgb);
        self.colors.set(self.colors.get() + begin.elapsed());
        Ok(())
    }

    fn to_image(&self) -> Result<Image> {
        let [height, width] = self.size();
        let mut rgb = vec![0; height * width * 3];
        self.write_rgb(&mut rgb)?;
        Ok(Image::new(height, width, rgb)?)
    }
}

/// Given each frame that was decoded, and its position in the order in which the frames are shown.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(usize, &Decoded<'_>) -> Result<()>;

/// Decoders that wait for the next frames: making one costs more than a small picture.
#[derive(Default)]
pub(crate) struct Decoders {
    av1: Mutex<Vec<dav1d::Decoder>>,
    h264: Mutex<Vec<Decoder>>,
    pub(crate) costs: Counters,
}

impl Decoders {
    /// Decodes the frames at the positions `wanted`, which rise, and those that they are built upon. All of them are shown to
    /// `visit`, those that nobody wanted too.
    pub(crate) fn decode(
        &self,
        index: &VideoIndex,
        wanted: &[usize],
        visit: Visit<'_>,
    ) -> Result<()> {
        for run in runs(index, wanted) {
            self.decode_run(index, run, visit)?;
        }
        Ok(())
    }

    /// Decodes packets, of which the first is a key.
    fn decode_run(&self, index: &VideoIndex, fed: Range<usize>, visit: Visit<'_>) -> Result<()> {
        let mut costs = DecodingCosts::default();
        let begin = Instant::now();
        let packets = index.read_packets(fed.clone())?;
        costs.reading = begin.elapsed();
        // Decoders hand frames out in the order in which they are shown.
        let mut order: Vec<_> = fed.clone().collect();
        order.sort_by_key(|&packet| index.packets[packet].time);
        let mut order = order.into_iter();
        let mut show = |decoded: Decoded<'_>| {
            let Some(packet) = order.next() else {
                let problem = format!("more than {} frames came out of as many", fed.len());
                return Err(Error::file(&index.path, problem));
            };
            costs.frames += 1;
            let Some(position) = index.position(packet) else {
                return Ok(());
            };
            let begin = Instant::now();
            visit(position, &decoded)?;
            let colors = decoded.colors.get();
            costs.colors += colors;
            costs.keeping += begin.elapsed().saturating_sub(colors);
            Ok(())
        };
        let begin = Instant::now();
        self.decode_packets(index, packets, &mut show)?;
        costs.decoding = begin.elapsed().saturating_sub(costs.colors + costs.keeping);
        self.costs.add(&costs);
        match order.len() {
            0 => Ok(()),
            missing => Err(Error::file(
                &index.path,
                format!(
                    "of {} frames only {} could be decoded",
                    fed.len(),
                    fed.len() - missing
                ),
            )),
        }
    }

    fn decode_packets(
        &self,
        index: &VideoIndex,
        packets: Vec<Vec<u8>>,
        show: Show<'_>,
    ) -> Result<()> {
        match &index.codec {
            Codec::H264 {
                parameters,
                length_bytes,
            } => {
                let mut decoder = match take(&self.h264) {
                    Some(decoder) => decoder,
                    None => h264_decoder(&index.path)?,
                };
                let stream = H264Stream {
                    path: &index.path,
                    parameters,
                    length_bytes: *length_bytes,
                };
                if stream.decode(&mut decoder, &packets, show)? {
                    give_back(&self.h264, decoder);
                }
            }
            Codec::Av1 { header } => {
                let mut decoder = match take(&self.av1) {
                    Some(decoder) => decoder,
                    None => av1_decoder(&index.path)?,
                };
                decode_av1(&index.path, header, packets, &mut decoder, show)?;
                decoder.flush();
                give_back(&self.av1, decoder);
            }
            Codec::Other { name, .. } => return Err(unsupported(&index.path, name)),
        }
        Ok(())
    }
}

fn take<T>(waiting: &Mutex<Vec<T>>) -> Option<T> {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.pop()
}

fn give_back<T>(waiting: &Mutex<Vec<T>>, decoder: T) {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.push(decoder);
}

/// The packets to feed, each run from a key on. Those that follow each other are fed as one.
fn runs(index: &VideoIndex, wanted: &[usize]) -> Vec<Range<usize>> {
    let mut packets: Vec<_> = wanted
        .iter()
        .map(|&position| index.shown[position])
        .collect();
    packets.sort_unstable();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for packet in packets {
        let keys = (0..=packet).rev();
        let mut keys = keys.filter(|&earlier| index.packets[earlier].is_key);
        let start = keys.next().unwrap_or(0);
        match runs.last_mut() {
            Some(run) if start <= run.end => run.end = run.end.max(packet + 1),
            _ => runs.push(start..packet + 1),
        }
    }
    runs
}

/// Pixels of an AV1 picture, at most: 4096 by 4096. The decoder of H.264 has a limit of its own, 36,864 blocks of 16 by 16.
const LARGEST_PICTURE: u32 = 1 << 24;
/// The profiles of H.264 that the decoder takes: Baseline, Main and High.
const PROFILES: [u8; 3] = [66, 77, 100];

fn h264_decoder(path: &Path) -> Result<Decoder> {
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    Decoder::with_api_config(OpenH264API::from_source(), config)
        .map_err(|error| h264_failed(path, &error))
}

fn h264_failed(path: &Path, error: &openh264::Error) -> Error {
    Error::file(path, format!("H.264 decoder: {error}"))
}

/// What is given each frame as it comes out of a decoder.
type Show<'a> = &'a mut dyn FnMut(Decoded<'_>) -> Result<()>;

struct H264Stream<'a> {
    path: &'a Path,
    parameters: &'a [u8],
    length_bytes: usize,
}

impl H264Stream<'_> {
    /// Says whether the decoder is as good as before: pictures that had to be flushed stay in its pool for good, which holds
    /// a handful.
    fn decode(&self, decoder: &mut Decoder, packets: &[Vec<u8>], show: Show<'_>) -> Result<bool> {
        // The profile follows the start code and the unit's type.
        let profile = self.parameters.get(5).copied().unwrap_or(0);
        if !PROFILES.contains(&profile) {
            return Err(unsupported(self.path, &format!("h264, profile {profile}")));
        }
        let failed = |error: openh264::Error| h264_failed(self.path, &error);
        let mut stream = self.parameters.to_vec();
        for packet in packets {
            with_start_codes(self.path, packet, self.length_bytes, &mut stream)?;
            if let Some(picture) = decoder.decode(&stream).map_err(failed)? {
                show(h264_frame(self.path, &picture))?;
            }
            stream.clear();
        }
        let flushed = decoder.flush_remaining().map_err(failed)?;
        for picture in &flushed {
            show(h264_frame(self.path, picture))?;
        }
        Ok(flushed.is_empty())
    }
}

fn h264_frame<'a>(path: &'a Path, picture: &'a DecodedYUV<'_>) -> Decoded<'a> {
    let (width, height) = picture.dimensions();
    let (luma, blue, red) = picture.strides();
    Decoded {
        path,
        planes: Planes {
            height,
            width,
            luma: (picture.y(), luma),
            blue: (picture.u(), blue),
            red: (picture.v(), red),
        },
        space: ColorSpace::LEROBOT,
        colors: Cell::default(),
    }
}

fn av1_failed(path: &Path, error: dav1d::Error) -> Error {
    Error::file(path, format!("AV1 decoder: {error}"))
}

fn av1_decoder(path: &Path) -> Result<dav1d::Decoder> {
    let mut settings = dav1d::Settings::new();
    // Several files are decoded side by side; threads within one only cost at these sizes.
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    settings.set_frame_size_limit(LARGEST_PICTURE);
    dav1d::Decoder::with_settings(&settings).map_err(|error| av1_failed(path, error))
}

fn decode_av1(
    path: &Path,
    header: &[u8],
    packets: Vec<Vec<u8>>,
    decoder: &mut dav1d::Decoder,
    show: Show<'_>,
) -> Result<()> {
    let failed = |error| av1_failed(path, error);
    let mut header = Some(header.to_vec());
    let count = packets.len() as i64;
    let mut pictures = Av1Pictures {
        path,
        shown: 0,
        show,
    };
    for (number, packet) in (0..).zip(packets) {
        let data = match header.take() {
            Some(header) => [header, packet].concat(),
            None => packet,
        };
        let mut sent = decoder.send_data(data, None, Some(number), None);
        while matches!(sent, Err(dav1d::Error::Again)) {
            if !pictures.next(decoder)? {
                return Err(failed(dav1d::Error::Again));
            }
            sent = decoder.send_pending_data();
        }
        sent.map_err(failed)?;
        pictures.next(decoder)?;
    }
    while pictures.shown < count && pictures.next(decoder)? {}
    Ok(())
}

/// The pictures that come out of an AV1 decoder, one a packet.
struct Av1Pictures<'a> {
    path: &'a Path,
    shown: i64,
    show: Show<'a>,
}

impl Av1Pictures<'_> {
    /// Shows the next picture, if there is one. Asked for one that is not there, the decoder loses a few bytes for good: so it
    /// is asked no more often than it has packets.
    fn next(&mut self, decoder: &mut dav1d::Decoder) -> Result<bool> {
        let picture = match decoder.get_picture() {
            Ok(picture) => picture,
            Err(dav1d::Error::Again) => return Ok(false),
            Err(error) => return Err(av1_failed(self.path, error)),
        };
        // A picture is known by the number of its packet.
        if picture.timestamp() != Some(self.shown) {
            let problem = format!("packet {} does not hold one picture", self.shown);
            return Err(Error::file(self.path, problem));
        }
        self.shown += 1;
        show_av1(self.path, &picture, self.show)?;
        Ok(true)
    }
}

fn show_av1(path: &Path, picture: &dav1d::Picture, show: Show<'_>) -> Result<()> {
    use dav1d::PlanarImageComponent::{U, V, Y};
    use dav1d::pixel::{MatrixCoefficients, YUVRange};
    let (layout, bits) = (picture.pixel_layout(), picture.bit_depth());
    if layout != dav1d::PixelLayout::I420 || bits != 8 {
        return Err(Error::Unsupported {
            what: path.display().to_string(),
            found: format!("AV1 with {bits} bits in layout {layout:?}"),
            supported: "8 bits, 4:2:0 (pix_fmt yuv420p)".to_owned(),
        });
    }
    let [luma, blue, red] = [Y, U, V].map(|plane| (picture.plane(plane), picture.stride(plane)));
    let planes = Planes {
        height: picture.height() as usize,
        width: picture.width() as usize,
        luma: (&luma.0, luma.1 as usize),
        blue: (&blue.0, blue.1 as usize),
        red: (&red.0, red.1 as usize),
    };
    let matrix = match picture.matrix_coefficients() {
        MatrixCoefficients::BT709 => Matrix::Bt709,
        _ => Matrix::Bt601,
    };
    let full_range = picture.color_range() == YUVRange::Full;
    show(Decoded {
        path,
        planes,
        space: ColorSpace { matrix, full_range },
        colors: Cell::default(),
    })
}
