//! Violation of expectation: what a model did not see coming.

use armilla_core::Image;
use armilla_world::WorldModel;

use crate::footage::{Encoded, latent_error, predict, windows};

/// The one-step prediction error at each frame of an episode from the model's history on: element `k` is of frame `history + k`.
#[must_use]
pub fn surprise(model: &WorldModel, episode: &Encoded) -> Vec<f64> {
    let episodes = std::slice::from_ref(episode);
    let windows = windows(episodes, model.shape().history, 1, 1);
    let predicted = predict(model, episodes, &windows, 1);
    let each = predicted.chunks(model.shape().latent).zip(&windows);
    each.map(|(guess, window)| latent_error(guess, &episode.latents[window.start + 1]))
        .collect()
}

/// The same picture with its colours exchanged: red for green, green for blue, blue for red. Grey stays.
#[must_use]
pub fn recoloured(image: &Image) -> Image {
    let mut other = image.clone();
    let pixels = other.data_mut().chunks_exact_mut(3);
    pixels.for_each(|pixel| pixel.rotate_left(1));
    other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footage::tests::{episode, model};

    #[test]
    fn one_error_a_frame_from_the_history_on() {
        for history in [1, 3] {
            let model = model(history, vec![4, 4]);
            let mut footage = episode(16);
            let clean = surprise(&model, &footage.clone().encode(&model).unwrap());
            assert_eq!(clean.len(), 9 - history);
            footage.images[5] = Image::filled(16, 16, [200, 10, 10]);
            let changed = surprise(&model, &footage.encode(&model).unwrap());
            let at = 5 - history;
            assert_eq!(clean[..at], changed[..at]);
            assert_ne!(clean[at], changed[at]);
        }
    }

    #[test]
    fn colours_are_exchanged_in_place() {
        let image = Image::new(1, 2, vec![1, 2, 3, 9, 9, 9]).unwrap();
        assert_eq!(recoloured(&image).data(), [2, 3, 1, 9, 9, 9]);
        let back = recoloured(&recoloured(&recoloured(&image)));
        assert_eq!(back, image);
    }
}
