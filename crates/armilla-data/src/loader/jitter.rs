//! Random changes of colour, as torchvision's `ColorJitter` makes them.

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How far colours may change; 0 leaves a property alone.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// A factor from `1 - brightness` (0 at least) to `1 + brightness` on every value.
    pub brightness: f32,
    /// The same on the distance to the picture's mean grey.
    pub contrast: f32,
    /// The same on the distance to each pixel's grey.
    pub saturation: f32,
    /// A turn of up to `hue` of a whole one either way, 0.5 at most.
    pub hue: f32,
}

/// The changes that were drawn, in their order.
pub(super) struct DrawnJitter(Vec<Change>);

#[derive(Clone, Copy, Debug)]
enum Change {
    Brightness(f32),
    Contrast(f32),
    Saturation(f32),
    Hue(f32),
}

impl ColorJitter {
    pub(super) fn check(self) -> Result<()> {
        let named = [
            ("brightness", self.brightness, f32::MAX),
            ("contrast", self.contrast, f32::MAX),
            ("saturation", self.saturation, f32::MAX),
            ("hue", self.hue, 0.5),
        ];
        match named
            .into_iter()
            .find(|(_, value, most)| !(0.0..=*most).contains(value))
        {
            Some((name, value, most)) => {
                let expected = if most < 1.0 { "0 to 0.5" } else { "0 or more" };
                Err(Error::invalid(
                    format!("color-jitter: {name}"),
                    expected,
                    value,
                ))
            }
            None => Ok(()),
        }
    }

    pub(super) fn draw(self, generator: &mut ChaCha8Rng) -> DrawnJitter {
        let mut factor = |spread: f32| {
            let low = (1.0 - spread).max(0.0);
            low + (1.0 + spread - low) * generator.random::<f32>()
        };
        let mut changes = Vec::new();
        for (spread, change) in [
            (self.brightness, Change::Brightness as fn(f32) -> Change),
            (self.contrast, Change::Contrast),
            (self.saturation, Change::Saturation),
        ] {
            if spread > 0.0 {
                changes.push(change(factor(spread)));
            }
        }
        if self.hue > 0.0 {
            changes.push(Change::Hue(
                self.hue * (2.0 * generator.random::<f32>() - 1.0),
            ));
        }
        changes.shuffle(generator);
        DrawnJitter(changes)
    }
}

impl DrawnJitter {
    /// Changes pictures, `[pictures, height, width, 3]`, that lie one after the other; contrast takes the mean of all.
    pub(super) fn apply(&self, pictures: &mut [u8]) {
        for &change in &self.0 {
            match change {
                Change::Brightness(factor) => {
                    blend(pictures, factor, |_| 0.0);
                }
                Change::Contrast(factor) => {
                    let pixels = (pictures.len() / 3).max(1) as f64;
                    let sum: f64 = pictures
                        .chunks_exact(3)
                        .map(|pixel| f64::from(grey(pixel)))
                        .sum();
                    let mean = (sum / pixels) as f32;
                    blend(pictures, factor, |_| mean);
                }
                Change::Saturation(factor) => blend(pictures, factor, grey),
                Change::Hue(turn) => {
                    for pixel in pictures.chunks_exact_mut(3) {
                        turn_hue(pixel, turn);
                    }
                }
            }
        }
    }
}

/// Luma of a pixel (BT.601), cut off as torchvision does it for bytes.
fn grey(pixel: &[u8]) -> f32 {
    let [red, green, blue] = [0, 1, 2].map(|channel| f32::from(pixel[channel]));
    (0.2989 * red + 0.587 * green + 0.114 * blue).floor()
}

/// Moves each value away from, or towards, something that its pixel says.
fn blend(pictures: &mut [u8], factor: f32, towards: impl Fn(&[u8]) -> f32) {
    for pixel in pictures.chunks_exact_mut(3) {
        let other = towards(pixel) * (1.0 - factor);
        for value in pixel {
            *value = (f32::from(*value) * factor + other).clamp(0.0, 255.0) as u8;
        }
    }
}

/// Turns a pixel's hue by a part of a whole turn.
fn turn_hue(pixel: &mut [u8], turn: f32) {
    let [red, green, blue] = [0, 1, 2].map(|channel| f32::from(pixel[channel]) / 255.0);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let chroma = most - least;
    if chroma == 0.0 {
        return;
    }
    let hue = if most == red {
        (green - blue) / chroma
    } else if most == green {
        2.0 + (blue - red) / chroma
    } else {
        4.0 + (red - green) / chroma
    };
    let hue = (hue / 6.0 + turn).rem_euclid(1.0) * 6.0;
    // How far each channel lies above the least, by its distance on the wheel.
    for (channel, offset) in pixel.iter_mut().zip([0.0, 4.0, 2.0]) {
        let place = (hue + offset).rem_euclid(6.0);
        let share = ((place - 3.0).abs() - 1.0).clamp(0.0, 1.0);
        *channel = ((least + chroma * share) * 255.0).round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;

    fn changed(change: Change, picture: &[u8]) -> Vec<u8> {
        let mut picture = picture.to_vec();
        DrawnJitter(vec![change]).apply(&mut picture);
        picture
    }

    #[test]
    fn each_change_does_what_its_name_says() {
        let picture = [200, 100, 0, 10, 20, 30];
        assert_eq!(
            changed(Change::Brightness(0.5), &picture),
            [100, 50, 0, 5, 10, 15]
        );
        assert_eq!(
            changed(Change::Brightness(2.0), &picture),
            [255, 200, 0, 20, 40, 60]
        );
        // Greys of 118 and 18, their mean 68.
        assert_eq!(
            changed(Change::Contrast(0.5), &picture),
            [134, 84, 34, 39, 44, 49]
        );
        assert_eq!(
            changed(Change::Saturation(0.0), &picture),
            [118, 118, 118, 18, 18, 18]
        );
        assert_eq!(changed(Change::Hue(1.0 / 3.0), &[200, 0, 0]), [0, 200, 0]);
        assert_eq!(changed(Change::Hue(-1.0 / 3.0), &[200, 0, 0]), [0, 0, 200]);
        assert_eq!(changed(Change::Hue(0.25), &[70, 70, 70]), [70, 70, 70]);
        for change in [
            Change::Brightness(1.0),
            Change::Contrast(1.0),
            Change::Saturation(1.0),
            Change::Hue(0.0),
        ] {
            assert_eq!(changed(change, &picture), picture, "{change:?}");
        }
    }

    #[test]
    fn draws_spread_over_their_ranges_and_orders() {
        let jitter = ColorJitter {
            brightness: 0.2,
            contrast: 1.5,
            saturation: 0.1,
            hue: 0.05,
        };
        let mut generator = stream(3, "jitter", 0);
        let (mut firsts, mut factors) = ([0; 4], Vec::new());
        for _ in 0..400 {
            let drawn = jitter.draw(&mut generator).0;
            firsts[match drawn[0] {
                Change::Brightness(_) => 0,
                Change::Contrast(_) => 1,
                Change::Saturation(_) => 2,
                Change::Hue(_) => 3,
            }] += 1;
            for change in drawn {
                match change {
                    Change::Brightness(factor) => assert!((0.8..=1.2).contains(&factor)),
                    Change::Contrast(factor) => factors.push(factor),
                    Change::Saturation(factor) => assert!((0.9..=1.1).contains(&factor)),
                    Change::Hue(turn) => assert!((-0.05..=0.05).contains(&turn)),
                }
            }
        }
        assert!(
            firsts.iter().all(|count| (70..=130).contains(count)),
            "{firsts:?}"
        );
        assert!(
            factors.iter().any(|&factor| factor < 0.1)
                && factors.iter().any(|&factor| factor > 2.4)
        );
        assert!(ColorJitter { hue: 0.6, ..jitter }.check().is_err());
    }
}
