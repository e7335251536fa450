//! Frames of a video file to pictures.

use std::ops::Range;
use std::path::Path;

use armilla_core::Image;
use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource as _;
use re_rav1d::dav1d;

use super::color::{ColorSpace, Matrix, Planes, to_rgb};
use super::demux::{Codec, VideoIndex, unsupported, with_start_codes};
use crate::error::{Error, Result};

/// Decodes the frames at positions `shown` in the order in which they are shown.
pub(crate) fn decode(index: &VideoIndex, shown: Range<usize>) -> Result<Vec<Image>> {
    let wanted = &index.shown[shown.clone()];
    let (Some(&first), Some(&last)) = (wanted.iter().min(), wanted.iter().max()) else {
        return Ok(Vec::new());
    };
    let start = (0..=first)
        .rev()
        .find(|&packet| index.packets[packet].is_key)
        .unwrap_or(0);
    let fed = start..last + 1;
    let data = index.read_packets(fed.clone())?;
    let pictures = match &index.codec {
        Codec::H264 {
            parameters,
            length_bytes,
        } => decode_h264(&index.path, parameters, *length_bytes, &data)?,
        Codec::Av1 { header } => decode_av1(&index.path, header, data)?,
        Codec::Other { name, .. } => return Err(unsupported(&index.path, name)),
    };
    if pictures.len() != fed.len() {
        return Err(Error::file(
            &index.path,
            format!(
                "of {} frames only {} could be decoded",
                fed.len(),
                pictures.len()
            ),
        ));
    }
    // Decoders hand pictures out in the order in which they are shown.
    let mut order: Vec<_> = fed.collect();
    order.sort_by_key(|&packet| index.packets[packet].time);
    let mut found: Vec<_> = order.into_iter().zip(pictures).collect();
    found.retain(|(packet, _)| wanted.contains(packet));
    found.sort_by_key(|(packet, _)| index.packets[*packet].time);
    Ok(found.into_iter().map(|(_, image)| image).collect())
}

/// Pixels of an AV1 picture, at most: 4096 by 4096. The decoder of H.264 has a limit of its own, 36,864 blocks of 16 by 16.
const LARGEST_PICTURE: u32 = 1 << 24;
/// The profiles of H.264 that the decoder takes: Baseline, Main and High.
const PROFILES: [u8; 3] = [66, 77, 100];

fn decode_h264(
    path: &Path,
    parameters: &[u8],
    length_bytes: usize,
    packets: &[Vec<u8>],
) -> Result<Vec<Image>> {
    // The profile follows the start code and the unit's type.
    let profile = parameters.get(5).copied().unwrap_or(0);
    if !PROFILES.contains(&profile) {
        return Err(unsupported(path, &format!("h264, profile {profile}")));
    }
    let failed = |error: openh264::Error| Error::file(path, format!("H.264 decoder: {error}"));
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    let mut decoder =
        Decoder::with_api_config(OpenH264API::from_source(), config).map_err(failed)?;
    let mut images = Vec::with_capacity(packets.len());
    let mut stream = parameters.to_vec();
    for packet in packets {
        with_start_codes(path, packet, length_bytes, &mut stream)?;
        if let Some(picture) = decoder.decode(&stream).map_err(failed)? {
            images.push(h264_image(path, &picture)?);
        }
        stream.clear();
    }
    for picture in decoder.flush_remaining().map_err(failed)? {
        images.push(h264_image(path, &picture)?);
    }
    Ok(images)
}

fn h264_image(path: &Path, picture: &DecodedYUV<'_>) -> Result<Image> {
    let (width, height) = picture.dimensions();
    let (luma, blue, red) = picture.strides();
    let planes = Planes {
        height,
        width,
        luma: (picture.y(), luma),
        blue: (picture.u(), blue),
        red: (picture.v(), red),
    };
    image(path, &planes, ColorSpace::LEROBOT)
}

fn decode_av1(path: &Path, header: &[u8], packets: Vec<Vec<u8>>) -> Result<Vec<Image>> {
    let failed = |error: dav1d::Error| Error::file(path, format!("AV1 decoder: {error}"));
    let mut settings = dav1d::Settings::new();
    // Several files are decoded side by side; threads within one only cost at these sizes.
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    settings.set_frame_size_limit(LARGEST_PICTURE);
    let mut decoder = dav1d::Decoder::with_settings(&settings).map_err(failed)?;
    let mut images = Vec::with_capacity(packets.len());
    let mut header = Some(header.to_vec());
    for packet in packets {
        let mut data = header.take().unwrap_or_default();
        data.extend_from_slice(&packet);
        let mut sent = decoder.send_data(data, None, None, None);
        while matches!(sent, Err(dav1d::Error::Again)) {
            let picture = decoder.get_picture().map_err(failed)?;
            images.push(av1_image(path, &picture)?);
            sent = decoder.send_pending_data();
        }
        sent.map_err(failed)?;
        take_av1_pictures(path, &mut decoder, &mut images)?;
    }
    take_av1_pictures(path, &mut decoder, &mut images)?;
    Ok(images)
}

fn take_av1_pictures(
    path: &Path,
    decoder: &mut dav1d::Decoder,
    images: &mut Vec<Image>,
) -> Result<()> {
    loop {
        match decoder.get_picture() {
            Ok(picture) => images.push(av1_image(path, &picture)?),
            Err(dav1d::Error::Again) => return Ok(()),
            Err(error) => return Err(Error::file(path, format!("AV1 decoder: {error}"))),
        }
    }
}

fn av1_image(path: &Path, picture: &dav1d::Picture) -> Result<Image> {
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
    image(path, &planes, ColorSpace { matrix, full_range })
}

fn image(path: &Path, planes: &Planes<'_>, space: ColorSpace) -> Result<Image> {
    let half = planes.height.div_ceil(2);
    let enough = |(data, stride): (&[u8], usize), rows: usize, columns: usize| {
        rows > 0 && stride >= columns && data.len() >= (rows - 1) * stride + columns
    };
    let whole = enough(planes.luma, planes.height, planes.width)
        && enough(planes.blue, half, planes.width.div_ceil(2))
        && enough(planes.red, half, planes.width.div_ceil(2));
    if !whole {
        return Err(Error::file(
            path,
            "the decoder gave a picture with missing rows",
        ));
    }
    Ok(Image::new(
        planes.height,
        planes.width,
        to_rgb(planes, space),
    )?)
}
