//! Random colours in place of a window's own: a random 1 × 1 convolution.

use armilla_core::random::normals;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const CHANNELS: usize = 3;

/// Mixes the three channels at random, so that nothing can be told by its colour, only things of different colours apart.
///
/// A random convolution (Lee et al., arXiv 1910.05396; Xu et al., arXiv 2007.13003) of one pixel, around the mean colour of the window's
/// pictures: `level + matrix * (pixel - mean)`, with normal entries of the matrix that keep a picture's spread on average.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelMix {
    /// Share of the windows that are mixed, 0 to 1.
    pub share: f32,
    /// How far the mean may move from the middle of a channel's range, as a share of that range: 0 to 0.5.
    pub level: f32,
}

impl Default for ChannelMix {
    fn default() -> Self {
        Self {
            share: 0.5,
            level: 0.3,
        }
    }
}

/// What was drawn for a window.
pub(super) struct DrawnMix {
    matrix: [[f32; CHANNELS]; CHANNELS],
    level: [f32; CHANNELS],
}

impl ChannelMix {
    pub(super) fn check(self) -> Result<()> {
        for (name, value, most) in [("share", self.share, 1.0), ("level", self.level, 0.5)] {
            if !(0.0..=most).contains(&value) {
                let expected = format!("0 to {most}");
                return Err(Error::invalid(
                    format!("channel-mix: {name}"),
                    expected,
                    value,
                ));
            }
        }
        Ok(())
    }

    /// `None` for a window that keeps its colours.
    pub(super) fn draw(self, generator: &mut ChaCha8Rng) -> Option<DrawnMix> {
        if generator.random::<f32>() >= self.share {
            return None;
        }
        let entries = normals(generator, CHANNELS * CHANNELS);
        let deviation = (CHANNELS as f32).sqrt().recip();
        let matrix = std::array::from_fn(|to| {
            std::array::from_fn(|from| entries[to * CHANNELS + from] * deviation)
        });
        let level = std::array::from_fn(|_| {
            255.0 * (0.5 + self.level * (2.0 * generator.random::<f32>() - 1.0))
        });
        Some(DrawnMix { matrix, level })
    }
}

impl DrawnMix {
    /// Changes pictures, `[pictures, height, width, 3]`, that lie one after the other.
    pub(super) fn apply(&self, pictures: &mut [u8]) {
        let pixels = (pictures.len() / CHANNELS).max(1) as f64;
        let mean: [f32; CHANNELS] = std::array::from_fn(|channel| {
            let values = pictures.iter().skip(channel).step_by(CHANNELS);
            let sum: u64 = values.map(|&value| u64::from(value)).sum();
            (sum as f64 / pixels) as f32
        });
        for pixel in pictures.chunks_exact_mut(CHANNELS) {
            let away: [f32; CHANNELS] =
                std::array::from_fn(|channel| f32::from(pixel[channel]) - mean[channel]);
            for ((value, row), level) in pixel.iter_mut().zip(&self.matrix).zip(self.level) {
                let mixed: f32 = row
                    .iter()
                    .zip(away)
                    .map(|(weight, away)| weight * away)
                    .sum();
                *value = (level + mixed).round().clamp(0.0, 255.0) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;

    #[test]
    fn a_mix_is_linear_around_the_mean() {
        let drawn = DrawnMix {
            matrix: [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.5, 0.5, 0.0]],
            level: [100.0, 120.0, 140.0],
        };
        let mut pictures = [20, 40, 9, 60, 80, 9];
        drawn.apply(&mut pictures);
        // Both pixels lie 20 from the mean in red and green.
        assert_eq!(pictures, [80, 140, 120, 120, 100, 160]);
        let bright = DrawnMix {
            level: [300.0, -50.0, 0.0],
            ..drawn
        };
        let mut pictures = [7; 6];
        bright.apply(&mut pictures);
        assert_eq!(pictures, [255, 0, 0, 255, 0, 0]);
    }

    #[test]
    fn a_share_of_the_windows_is_mixed_and_keeps_its_spread() {
        let mix = ChannelMix {
            share: 0.25,
            level: 0.2,
        };
        let mut generator = stream(3, "mix", 0);
        let drawn: Vec<_> = (0..800).filter_map(|_| mix.draw(&mut generator)).collect();
        assert!((160..240).contains(&drawn.len()), "{}", drawn.len());
        let squares = |drawn: &DrawnMix| {
            drawn
                .matrix
                .as_flattened()
                .iter()
                .map(|w| w * w)
                .sum::<f32>()
        };
        let spread = drawn.iter().map(squares).sum::<f32>() / (3 * drawn.len()) as f32;
        assert!((spread - 1.0).abs() < 0.1, "{spread}");
        let levels = drawn.iter().flat_map(|drawn| drawn.level);
        assert!(
            levels
                .into_iter()
                .all(|level| (76.5..=178.5).contains(&level))
        );
    }

    #[test]
    fn wrong_shares_are_refused() {
        let wrong = ChannelMix {
            share: 1.5,
            ..ChannelMix::default()
        };
        assert!(
            wrong
                .check()
                .is_err_and(|e| e.to_string().contains("share"))
        );
        let wrong = ChannelMix {
            level: f32::NAN,
            ..ChannelMix::default()
        };
        assert!(
            wrong
                .check()
                .is_err_and(|e| e.to_string().contains("level"))
        );
        assert!(ChannelMix::default().check().is_ok());
    }
}
