//! Windows turned and mirrored: more scenes from the same recordings.

use armilla_core::WindowBatch;
use armilla_nn::images::CHANNELS;
use burn::tensor::Tensor;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::{Result, ensure};

/// One of the eight ways to lay a square onto itself: an exchange of the axes, then mirrorings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Symmetry {
    exchange: bool,
    mirror_x: bool,
    mirror_y: bool,
}

impl Symmetry {
    /// All eight, first the picture as it is.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|index| Self {
            mirror_x: index & 1 > 0,
            mirror_y: index & 2 > 0,
            exchange: index & 4 > 0,
        })
    }

    fn draw(generator: &mut ChaCha8Rng) -> Self {
        let [exchange, mirror_x, mirror_y] = std::array::from_fn(|_| generator.random());
        Self {
            exchange,
            mirror_x,
            mirror_y,
        }
    }

    /// A picture `[side, side, channel]`.
    pub(crate) fn picture(self, picture: &mut [u8], side: usize) {
        let old = picture.to_vec();
        for (index, pixel) in picture.chunks_exact_mut(CHANNELS).enumerate() {
            let (mut y, mut x) = (index / side, index % side);
            if self.mirror_x {
                x = side - 1 - x;
            }
            if self.mirror_y {
                y = side - 1 - y;
            }
            let from = if self.exchange {
                x * side + y
            } else {
                y * side + x
            };
            pixel.copy_from_slice(&old[from * CHANNELS..][..CHANNELS]);
        }
    }

    /// A move by x to the right and y down.
    pub(crate) fn action(self, action: &mut [f32]) {
        if self.exchange {
            action.swap(0, 1);
        }
        if self.mirror_x {
            action[0] = -action[0];
        }
        if self.mirror_y {
            action[1] = -action[1];
        }
    }
}

impl Symmetry {
    /// Moves of [`Self::action`], many at once.
    ///
    /// # Shapes
    ///
    /// - actions: `[rows, steps, 2]`, and the same out
    pub(crate) fn actions(self, actions: Tensor<3>) -> Tensor<3> {
        let [mut x, mut y] = [0, 1].map(|axis| actions.clone().narrow(2, axis, 1));
        if self.exchange {
            (x, y) = (y, x);
        }
        if self.mirror_x {
            x = -x;
        }
        if self.mirror_y {
            y = -y;
        }
        Tensor::cat(vec![x, y], 2)
    }
}

/// Turns or mirrors each window, its later picture included, by a symmetry of its own.
///
/// # Errors
///
/// [`Error::Invalid`](crate::Error::Invalid) unless pictures are square and actions are moves along the picture's two axes.
pub fn turn(windows: &mut WindowBatch, generator: &mut ChaCha8Rng) -> Result<()> {
    let batch = windows.batch;
    for camera in &windows.cameras {
        let found = format!("{} x {}", camera.height, camera.width);
        let is_square = camera.height == camera.width;
        ensure(is_square, "picture to turn", "a square", found)?;
    }
    let moves = batch * windows.action_horizon * 2;
    let expected = format!("{moves} values, x and y of each");
    ensure(
        windows.actions.len() == moves,
        "actions to turn",
        expected,
        windows.actions.len(),
    )?;
    let symmetries: Vec<_> = (0..batch).map(|_| Symmetry::draw(generator)).collect();
    let cameras = windows.cameras.iter_mut();
    for (side, images) in cameras.flat_map(|camera| {
        let side = camera.width;
        [(side, &mut camera.images), (side, &mut camera.later_images)]
    }) {
        let each = (images.len() / batch.max(1)).max(1);
        let pairs = images.par_chunks_mut(each).zip(&symmetries);
        pairs.for_each(|(images, symmetry)| {
            for picture in images.chunks_exact_mut(side * side * CHANNELS) {
                symmetry.picture(picture, side);
            }
        });
    }
    let each = windows.action_horizon * 2;
    for (actions, symmetry) in windows.actions.chunks_mut(each.max(1)).zip(&symmetries) {
        actions
            .chunks_exact_mut(2)
            .for_each(|action| symmetry.action(action));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::CameraWindows;
    use armilla_core::random::stream;

    /// A pixel lit at a place, `[x, y]`.
    fn lit([x, y]: [usize; 2]) -> Vec<u8> {
        let mut picture = vec![0; 8 * 8 * CHANNELS];
        picture[(y * 8 + x) * CHANNELS] = 255;
        picture
    }

    fn place(picture: &[u8]) -> [usize; 2] {
        let at = picture.iter().position(|&value| value == 255).unwrap() / CHANNELS;
        [at % 8, at / 8]
    }

    #[test]
    fn a_moved_point_still_moves_by_the_action() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let mut windows = WindowBatch {
                batch: 1,
                time: 2,
                action_horizon: 1,
                cameras: vec![CameraWindows {
                    height: 8,
                    width: 8,
                    images: [lit([1, 2]), lit([4, 3])].concat(),
                    later_images: lit([4, 3]),
                    ..CameraWindows::default()
                }],
                actions: vec![3.0, 1.0],
                ..WindowBatch::default()
            };
            turn(&mut windows, &mut stream(seed, "turn", 0)).unwrap();
            let camera = &windows.cameras[0];
            let [from, to] = [0, 192].map(|at| place(&camera.images[at..at + 192]));
            for axis in 0..2 {
                assert_eq!(to[axis] as f32 - from[axis] as f32, windows.actions[axis]);
            }
            assert_eq!(place(&camera.later_images), to);
            seen.insert((from, to));
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn what_cannot_be_turned_is_refused() {
        let windows = |height| WindowBatch {
            batch: 1,
            action_horizon: 1,
            actions: vec![0.0; 3],
            cameras: vec![CameraWindows {
                height,
                width: 8,
                ..CameraWindows::default()
            }],
            ..WindowBatch::default()
        };
        let error = turn(&mut windows(4), &mut stream(0, "turn", 0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "picture to turn: expected a square, found 4 x 8"
        );
        let error = turn(&mut windows(8), &mut stream(0, "turn", 0)).unwrap_err();
        assert!(error.to_string().contains("actions to turn"), "{error}");
    }
}
