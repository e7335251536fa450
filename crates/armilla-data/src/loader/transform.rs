//! What becomes of a picture between its recording and the model.

use std::fmt;

use armilla_core::Image as Picture;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::jitter::ColorJitter;
use super::mixing::ChannelMix;
use crate::error::{Error, Result};

/// Longest side of a transformed picture, in pixels.
const LONGEST: usize = 8192;

/// One change of a picture. Random ones draw once a window and camera: all pictures of a window change alike.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ImageTransform {
    /// Stretches to a size, bilinear with antialiasing, as Pillow's `BILINEAR`.
    Resize {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// Resizes without stretching, in the middle of a black picture.
    ResizeWithPad {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// Cuts out the middle.
    CenterCrop {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// Cuts out a part at a random place.
    RandomCrop {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// Changes brightness, contrast, saturation and hue.
    ColorJitter(ColorJitter),
    /// Gives the pictures random colours.
    ChannelMix(ChannelMix),
}

impl ImageTransform {
    /// Whether it does the same to every picture.
    fn is_fixed(self) -> bool {
        !matches!(
            self,
            Self::RandomCrop { .. } | Self::ColorJitter(_) | Self::ChannelMix(_)
        )
    }

    /// Whether it leaves other parts of the scene than there were, or of another shape.
    #[must_use]
    pub fn crops(self) -> bool {
        matches!(
            self,
            Self::ResizeWithPad { .. } | Self::CenterCrop { .. } | Self::RandomCrop { .. }
        )
    }

    /// Height and width after it.
    fn size(self, [height, width]: [usize; 2]) -> Result<[usize; 2]> {
        let asked = match self {
            Self::ColorJitter(jitter) => {
                jitter.check()?;
                return Ok([height, width]);
            }
            Self::ChannelMix(mix) => {
                mix.check()?;
                return Ok([height, width]);
            }
            Self::Resize { height, width }
            | Self::ResizeWithPad { height, width }
            | Self::CenterCrop { height, width }
            | Self::RandomCrop { height, width } => [height, width],
        };
        let is_crop = matches!(self, Self::CenterCrop { .. } | Self::RandomCrop { .. });
        let most = if is_crop {
            [height, width]
        } else {
            [LONGEST; 2]
        };
        if asked.contains(&0) || asked[0] > most[0] || asked[1] > most[1] {
            let expected = format!("1 x 1 to {} x {} pixels", most[0], most[1]);
            let found = format!("{} x {}", asked[0], asked[1]);
            return Err(Error::invalid(format!("transform {self}"), expected, found));
        }
        Ok(asked)
    }
}

impl fmt::Display for ImageTransform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Resize { .. } => "resize",
            Self::ResizeWithPad { .. } => "resize-with-pad",
            Self::CenterCrop { .. } => "center-crop",
            Self::RandomCrop { .. } => "random-crop",
            Self::ColorJitter(_) => "color-jitter",
            Self::ChannelMix(_) => "channel-mix",
        })
    }
}

/// A training's transforms for pictures that are looked at after it: colours stay, and what was cut out at random is cut from the middle.
#[must_use]
pub fn deterministic(transforms: &[ImageTransform]) -> Vec<ImageTransform> {
    let certain = transforms.iter().filter_map(|&transform| match transform {
        ImageTransform::RandomCrop { height, width } => {
            Some(ImageTransform::CenterCrop { height, width })
        }
        ImageTransform::ColorJitter(_) | ImageTransform::ChannelMix(_) => None,
        fixed => Some(fixed),
    });
    certain.collect()
}

/// Height and width of pictures after transforms made [deterministic].
///
/// # Errors
///
/// [`Error::Invalid`] naming the transform that does not fit.
pub fn size_after_transforms(
    transforms: &[ImageTransform],
    before: [usize; 2],
) -> Result<[usize; 2]> {
    Ok(compile(&deterministic(transforms), before)?.0.target)
}

/// What transforms made [deterministic] make of a picture.
///
/// # Errors
///
/// [`Error::Invalid`] naming the transform that does not fit.
pub fn apply_transforms(transforms: &[ImageTransform], picture: Picture) -> Result<Picture> {
    let before = [picture.height(), picture.width()];
    let (resizing, _) = compile(&deterministic(transforms), before)?;
    if resizing.is_none() {
        return Ok(picture);
    }
    let mut data = vec![0; resizing.picture_len()];
    resizing.write(picture.data(), &mut data)?;
    let [height, width] = resizing.target;
    let failed = |error| Error::invalid("transformed picture", "a picture", error);
    Picture::new(height, width, data).map_err(failed)
}

/// A list of transforms for pictures of one size: first those that every picture undergoes alike, whose results can be kept.
pub(super) fn compile(
    transforms: &[ImageTransform],
    source: [usize; 2],
) -> Result<(Resizing, Randomizing)> {
    let fixed = transforms.iter().take_while(|each| each.is_fixed()).count();
    let (fixed, rest) = transforms.split_at(fixed);
    let steps = |transforms: &[ImageTransform], mut size: [usize; 2]| {
        let mut steps = Vec::new();
        for &transform in transforms {
            let before = size;
            size = transform.size(before)?;
            if transform.size(before)? != before || !transform.is_fixed() {
                steps.push(Step {
                    transform,
                    before,
                    after: size,
                });
            }
        }
        Ok::<_, Error>((steps, size))
    };
    let (fixed, middle) = steps(fixed, source)?;
    let (random, target) = steps(rest, middle)?;
    let resizing = Resizing {
        steps: fixed,
        source,
        target: middle,
    };
    let randomizing = Randomizing {
        steps: random,
        source: middle,
        target,
    };
    Ok((resizing, randomizing))
}

/// A transform, and the sizes around it.
#[derive(Clone, Copy, Debug)]
struct Step {
    transform: ImageTransform,
    before: [usize; 2],
    after: [usize; 2],
}

/// The transforms that do the same to every picture.
#[derive(Clone, Debug)]
pub(super) struct Resizing {
    steps: Vec<Step>,
    source: [usize; 2],
    target: [usize; 2],
}

impl Resizing {
    /// Height and width before.
    pub(super) fn source(&self) -> [usize; 2] {
        self.source
    }

    /// Bytes of a picture after.
    pub(super) fn picture_len(&self) -> usize {
        self.target[0] * self.target[1] * 3
    }

    /// Whether it changes nothing.
    pub(super) fn is_none(&self) -> bool {
        self.steps.is_empty()
    }

    /// Applies them to a picture.
    pub(super) fn write(&self, from: &[u8], to: &mut [u8]) -> Result<()> {
        let Some((last, first)) = self.steps.split_last() else {
            to.copy_from_slice(from);
            return Ok(());
        };
        let mut picture = None;
        for step in first {
            let mut next = vec![0; step.after[0] * step.after[1] * 3];
            fixed(*step, picture.as_deref().unwrap_or(from), &mut next)?;
            picture = Some(next);
        }
        fixed(*last, picture.as_deref().unwrap_or(from), to)
    }
}

/// The transforms from the first random one on.
#[derive(Clone, Debug)]
pub(super) struct Randomizing {
    steps: Vec<Step>,
    source: [usize; 2],
    target: [usize; 2],
}

impl Randomizing {
    /// Height and width after.
    pub(super) fn target(&self) -> [usize; 2] {
        self.target
    }

    /// Whether it changes nothing.
    pub(super) fn is_none(&self) -> bool {
        self.steps.is_empty()
    }

    /// Applies them to pictures that belong together.
    pub(super) fn write(
        &self,
        from: &[u8],
        to: &mut [u8],
        generator: &mut ChaCha8Rng,
    ) -> Result<()> {
        let pictures = from.len() / (self.source[0] * self.source[1] * 3).max(1);
        let mut now = from.to_vec();
        for step in &self.steps {
            let [before, after] =
                [step.before, step.after].map(|[rows, columns]| rows * columns * 3);
            match step.transform {
                ImageTransform::ColorJitter(jitter) => jitter.draw(generator).apply(&mut now),
                ImageTransform::ChannelMix(mix) => {
                    if let Some(drawn) = mix.draw(generator) {
                        drawn.apply(&mut now);
                    }
                }
                transform => {
                    let free =
                        [0, 1].map(|axis| step.before[axis].saturating_sub(step.after[axis]));
                    let at = match transform {
                        ImageTransform::RandomCrop { .. } => {
                            Some(free.map(|free| generator.random_range(0..=free)))
                        }
                        _ => None,
                    };
                    let mut next = vec![0; pictures * after];
                    for (from, to) in now.chunks(before).zip(next.chunks_mut(after)) {
                        match at {
                            Some(at) => crop(from, step.before, at, to, step.after),
                            None => fixed(*step, from, to)?,
                        }
                    }
                    now = next;
                }
            }
        }
        to.copy_from_slice(&now);
        Ok(())
    }
}

/// Applies a transform without a draw.
fn fixed(step: Step, from: &[u8], to: &mut [u8]) -> Result<()> {
    let (before, after) = (step.before, step.after);
    match step.transform {
        ImageTransform::Resize { .. } => resize(from, before, to, after)?,
        ImageTransform::ResizeWithPad { .. } => {
            let inner = inside(before, after);
            let mut resized = vec![0; inner[0] * inner[1] * 3];
            resize(from, before, &mut resized, inner)?;
            to.fill(0);
            let [top, left] = [0, 1].map(|axis| (after[axis] - inner[axis]) / 2);
            let rows = to.chunks_exact_mut(after[1] * 3).skip(top);
            for (row, from) in rows.zip(resized.chunks_exact(inner[1] * 3)) {
                row[left * 3..][..from.len()].copy_from_slice(from);
            }
        }
        _ => {
            let middle = [0, 1].map(|axis| (before[axis] - after[axis]) / 2);
            crop(from, before, middle, to, after);
        }
    }
    Ok(())
}

/// The largest size of the same shape within another.
fn inside(from: [usize; 2], within: [usize; 2]) -> [usize; 2] {
    let scale = |axis: usize| within[axis] as f64 / from[axis] as f64;
    let scale = scale(0).min(scale(1));
    [0, 1].map(|axis| ((from[axis] as f64 * scale) as usize).clamp(1, within[axis]))
}

fn resize(from: &[u8], before: [usize; 2], to: &mut [u8], after: [usize; 2]) -> Result<()> {
    let failed = |error: &dyn fmt::Display| {
        let found = format!("{before:?} to {after:?}: {error}");
        Error::invalid("resize", "sizes of a picture", found)
    };
    let [height, width] = before.map(|side| side as u32);
    let source = ImageRef::new(width, height, from, PixelType::U8x3).map_err(|e| failed(&e))?;
    let [height, width] = after.map(|side| side as u32);
    let target = Image::from_slice_u8(width, height, to, PixelType::U8x3);
    let mut target = target.map_err(|error| failed(&error))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new()
        .resize(&source, &mut target, &options)
        .map_err(|error| failed(&error))
}

fn crop(from: &[u8], before: [usize; 2], at: [usize; 2], to: &mut [u8], after: [usize; 2]) {
    let rows = from.chunks_exact(before[1] * 3).skip(at[0]);
    for (row, to) in rows.zip(to.chunks_exact_mut(after[1] * 3)) {
        to.copy_from_slice(&row[at[1] * 3..][..to.len()]);
    }
}

#[cfg(test)]
mod tests;
