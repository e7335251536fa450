//! Open-loop rollouts beside reality: what a world model imagines from the first frames and the actions alone.

use armilla_core::{Error, Image, Result};
use armilla_world::WorldModel;

use crate::footage::{Encoded, Footage, Window, latent_error, predict};

/// A recorded episode and what the model imagines of it, frames a model step apart.
#[derive(Clone, Debug, Default)]
pub struct Imagination {
    /// Seconds between two frames.
    pub period_secs: f64,
    /// What was recorded.
    pub real: Vec<Image>,
    /// The decoded rollout; the first is the decoded encoding of its first true one.
    pub imagined: Vec<Image>,
    /// Mean squared error of the rollout's latents against the encoded frames.
    pub errors: Vec<f32>,
    /// The same error of the guess that nothing moves.
    pub copy_errors: Vec<f32>,
}

/// Imagines an episode from its first frames, at most so many model steps of it.
///
/// # Errors
///
/// When the episode is shorter than the model's history and one step, or does not fit the model.
pub fn imagine(model: &WorldModel, footage: Footage, steps: usize) -> Result<Imagination> {
    let (history, found) = (model.shape().history, footage.images.len());
    let steps = steps.min(found.saturating_sub(history));
    if steps == 0 {
        let expected = format!("more than {history} frames a model step apart");
        return Err(Error::invalid("episode to imagine", expected, found));
    }
    let episode = footage.encode(model)?;
    imagine_from(model, &episode, history - 1, steps)
}

/// Imagines so many model steps of an episode from the frames up to `start`.
///
/// # Errors
///
/// When the model has no decoder.
///
/// # Panics
///
/// When fewer frames lie ahead, or fewer behind than the model looks back on.
pub fn imagine_from(
    model: &WorldModel,
    episode: &Encoded,
    start: usize,
    steps: usize,
) -> Result<Imagination> {
    let window = Window { episode: 0, start };
    let imagined = predict(model, std::slice::from_ref(episode), &[window], steps);
    let (first, truth) = (
        &episode.latents[start],
        &episode.latents[start..=start + steps],
    );
    let along: Vec<f32> = first.iter().copied().chain(imagined).collect();
    let decoded = model.decode(&along);
    // Checkpoints from before the rate was kept learnt from the simulators, all of 10 Hz.
    let rate_hz = model.interface().rate_hz.unwrap_or(10.0);
    Ok(Imagination {
        period_secs: model.shape().action_repeat as f64 / rate_hz,
        real: episode.footage.images[start..=start + steps].to_vec(),
        imagined: decoded.map_err(|error| Error::behind("imagining an episode", error))?,
        errors: along
            .chunks(first.len())
            .zip(truth)
            .map(|(guess, truth)| latent_error(guess, truth) as f32)
            .collect(),
        copy_errors: truth
            .iter()
            .map(|truth| latent_error(first, truth) as f32)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_world::encoder::{ConvolutionsConfig, EncoderConfig};
    use armilla_world::{ActionScale, Interface, JepaConfig, Model, StateScale};
    use burn::tensor::Device;

    #[test]
    fn as_many_frames_as_were_asked_for_and_the_first_is_exact() {
        let config = JepaConfig {
            image_size: 16,
            encoder: EncoderConfig::Convolutions(ConvolutionsConfig {
                patch: 1,
                channels: vec![4, 4],
            }),
            decoder_channels: vec![4, 4],
            ..JepaConfig::nano()
        };
        let model = Model::Jepa(config.init(0, &Device::flex()).unwrap());
        let scale = ActionScale {
            mean: vec![0.0; 2],
            std: vec![1.0; 2],
            low: vec![-1.0; 2],
            high: vec![1.0; 2],
        };
        let model = WorldModel::new(
            &model,
            Interface {
                cameras: vec!["top".into()],
                actions: scale,
                states: StateScale::default(),
                rate_hz: Some(10.0),
            },
        )
        .unwrap();
        let images: Vec<_> = (0..21)
            .map(|i| Image::filled(16, 16, [10 * i as u8, 0, 0]))
            .collect();
        let actions = vec![vec![0.5, -0.5]; 20];
        let imagine = |images: &[Image], steps: usize| {
            let footage = Footage::of_episode(images, &[], &actions, model.shape().action_repeat);
            imagine(&model, footage, steps)
        };
        let dream = imagine(&images, 3).unwrap();
        assert_eq!(
            (dream.real.len(), dream.imagined.len(), dream.errors.len()),
            (4, 4, 4)
        );
        assert_eq!((dream.errors[0], dream.copy_errors[0]), (0.0, 0.0));
        assert_eq!(imagine(&images, 99).unwrap().real.len(), 5);
        assert!(imagine(&images[..4], 3).is_err());
    }
}
