//! Episodes as a world model sees them, frames a model step apart, and what it predicts from there.

use armilla_core::{Error, Image, Result};
use armilla_nn::lanes::side_by_side;
use armilla_world::{Context, Dynamics, Frame, WorldModel};
use burn::tensor::{Tensor, TensorData};

/// Windows at least that a core predicts on its own, and the most at once.
const SHARE: usize = 16;
const TOGETHER: usize = 256;

/// Frames a model step apart, and what was done between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Footage {
    /// The frames, as the model's first camera saw them.
    pub images: Vec<Image>,
    /// The same of each other camera.
    pub others: Vec<Vec<Image>>,
    /// Proprioception at each frame, for a model that takes some.
    pub states: Vec<Vec<f32>>,
    /// Actions of each model step but the last frame's, one after the other, in their own units.
    pub blocks: Vec<Vec<f32>>,
}

impl Footage {
    /// Takes every `action_repeat`-th of an episode's frames, as far as the actions between them are whole.
    ///
    /// `images` are one a control step, `states` as many or none, and `actions` those between them.
    #[must_use]
    pub fn of_episode(
        images: &[Image],
        states: &[Vec<f32>],
        actions: &[Vec<f32>],
        action_repeat: usize,
    ) -> Self {
        let known = actions.len().min(images.len().saturating_sub(1)) / action_repeat;
        let blocks = actions.chunks_exact(action_repeat).take(known);
        Self {
            images: every(images, action_repeat, known + 1),
            states: every(states, action_repeat, known + 1),
            blocks: blocks.map(<[_]>::concat).collect(),
            others: Vec::new(),
        }
    }

    /// With what the model's other cameras saw, one picture a control step each.
    #[must_use]
    pub fn with_others(self, cameras: &[Vec<Image>], action_repeat: usize) -> Self {
        let kept = |images: &Vec<Image>| every(images, action_repeat, self.images.len());
        Self {
            others: cameras.iter().map(kept).collect(),
            ..self
        }
    }

    /// Its frames as latents.
    ///
    /// # Errors
    ///
    /// When it does not fit the model.
    pub fn encode(self, model: &WorldModel) -> Result<Encoded> {
        let takes_state = model.shape().state > 0;
        let others = |index: usize| {
            self.others
                .iter()
                .filter_map(move |images| images.get(index))
        };
        let frames = self.images.iter().enumerate().map(|(index, image)| Frame {
            images: std::iter::once(image).chain(others(index)).collect(),
            state: match self.states.get(index) {
                Some(state) if takes_state => state,
                _ => &[],
            },
        });
        let latents = model
            .encode(&frames.collect::<Vec<_>>())
            .map_err(|error| Error::behind("encoding an episode", error))?;
        let block = model.shape().block();
        if let Some(wrong) = self.blocks.iter().find(|values| values.len() != block) {
            let expected = format!("{block} values a model step");
            return Err(Error::invalid(
                "actions of an episode",
                expected,
                wrong.len(),
            ));
        }
        Ok(Encoded {
            footage: self,
            latents,
        })
    }
}

fn every<T: Clone>(frames: &[T], action_repeat: usize, count: usize) -> Vec<T> {
    let kept = frames.iter().step_by(action_repeat).take(count);
    kept.cloned().collect()
}

/// An episode with its frames' latents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// What was seen and done.
    pub footage: Footage,
    /// One latent a frame.
    pub latents: Vec<Vec<f32>>,
}

/// Where a prediction starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Index of the episode.
    pub episode: usize,
    /// Index of the last frame that the model sees.
    pub start: usize,
}

/// Starts in every episode from which so many model steps lie ahead and a whole history behind, `stride` frames apart.
#[must_use]
pub fn windows(episodes: &[Encoded], history: usize, steps: usize, stride: usize) -> Vec<Window> {
    let of_episode = |(episode, encoded): (usize, &Encoded)| {
        let end = encoded.latents.len().saturating_sub(steps);
        let starts = (history.max(1) - 1..end).step_by(stride.max(1));
        starts.map(move |start| Window { episode, start })
    };
    episodes.iter().enumerate().flat_map(of_episode).collect()
}

/// Predicted latents of each window, `[windows, steps, latent]`: open-loop, from the frames up to its start and the actions that
/// followed.
#[must_use]
pub fn predict(
    model: &WorldModel,
    episodes: &[Encoded],
    windows: &[Window],
    steps: usize,
) -> Vec<f32> {
    let device = Dynamics::device(model);
    let parts = side_by_side(&device, windows.len(), SHARE, |part| {
        let groups = windows[part].chunks(TOGETHER);
        let predicted = groups.flat_map(|group| predict_together(model, episodes, group, steps));
        predicted.collect::<Vec<_>>()
    });
    parts.concat()
}

/// The same of a few windows, the rows of one batch.
fn predict_together(
    model: &WorldModel,
    episodes: &[Encoded],
    windows: &[Window],
    steps: usize,
) -> Vec<f32> {
    let (shape, device) = (model.shape(), Dynamics::device(model));
    let (rows, past) = (windows.len(), shape.history.max(1) - 1);
    let tensor = |values: Vec<f32>, count: usize, width: usize| {
        Tensor::<3>::from_data(TensorData::new(values, [rows, count, width]), &device)
    };
    let blocks = |from: fn(usize, usize) -> usize, count: usize| {
        let of_window = |window: &Window| {
            let first = from(window.start, count);
            episodes[window.episode].footage.blocks[first..first + count].concat()
        };
        tensor(
            windows.iter().flat_map(of_window).collect(),
            count,
            shape.block(),
        )
    };
    let latents = windows.iter().flat_map(|window| {
        episodes[window.episode].latents[window.start - past..=window.start].concat()
    });
    let context = Context {
        latents: tensor(latents.collect(), past + 1, shape.latent),
        blocks: (past > 0).then(|| blocks(|start, count| start - count, past)),
    };
    let ahead = blocks(|start, _| start, steps);
    let latents = model.rollout(context, ahead);
    latents.into_data().iter::<f32>().collect()
}

/// Mean over a latent's values of their variance over all frames.
#[must_use]
pub fn variance(episodes: &[Encoded]) -> f64 {
    let latents = || episodes.iter().flat_map(|episode| &episode.latents);
    let rows: Vec<f64> = latents().flatten().map(|&value| f64::from(value)).collect();
    let Some(width) = latents().next().map(Vec::len) else {
        return 0.0;
    };
    let deviations = armilla_world::diagnostics::standard_deviations(&rows, width);
    deviations.iter().map(|value| value * value).sum::<f64>() / width as f64
}

/// Mean squared difference of two latents.
#[must_use]
pub fn latent_error(guess: &[f32], truth: &[f32]) -> f64 {
    let squares = guess
        .iter()
        .zip(truth)
        .map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>() / truth.len() as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use armilla_world::encoder::{ConvolutionsConfig, EncoderConfig};
    use armilla_world::{ActionScale, Interface, JepaConfig, Model, StateScale};
    use burn::tensor::Device;

    /// An untrained model of 16-px pictures with a history.
    pub(crate) fn model(history: usize, decoder_channels: Vec<usize>) -> WorldModel {
        model_of(1, history, decoder_channels)
    }

    fn model_of(cameras: usize, history: usize, decoder_channels: Vec<usize>) -> WorldModel {
        let mut config = JepaConfig {
            image_size: 16,
            cameras,
            encoder: EncoderConfig::Convolutions(ConvolutionsConfig {
                patch: 1,
                channels: vec![4, 4],
            }),
            decoder_channels,
            latent: 12,
            embedding: 4,
            history,
            action_repeat: 2,
            ..JepaConfig::nano()
        };
        if config.decoder_channels.is_empty() {
            config.loss.decoder_weight = 0.0;
        }
        let model = Model::Jepa(config.init(0, &Device::flex()).unwrap());
        let actions = ActionScale {
            mean: vec![0.0; 2],
            std: vec![1.0; 2],
            low: vec![-1.0; 2],
            high: vec![1.0; 2],
        };
        let interface = Interface {
            cameras: (0..cameras)
                .map(|camera| format!("camera {camera}"))
                .collect(),
            actions,
            states: StateScale::default(),
            rate_hz: Some(10.0),
        };
        WorldModel::new(&model, interface).unwrap()
    }

    /// An episode of so many control steps whose pictures grow brighter.
    pub(crate) fn episode(steps: usize) -> Footage {
        let images: Vec<_> = (0..=steps)
            .map(|step| Image::filled(16, 16, [(9 * step) as u8, 40, 90]))
            .collect();
        let actions: Vec<_> = (0..steps)
            .map(|step| vec![step as f32 / 10.0, -0.5])
            .collect();
        Footage::of_episode(&images, &[], &actions, 2)
    }

    #[test]
    fn frames_and_actions_a_model_step_apart() {
        let footage = episode(7);
        assert_eq!((footage.images.len(), footage.blocks.len()), (4, 3));
        assert_eq!(footage.images[3].pixel(0, 0)[0], 54);
        assert_eq!(footage.blocks[1], [0.2, -0.5, 0.3, -0.5]);
        let nothing = Footage::of_episode(&[], &[], &[], 2);
        assert!(nothing.blocks.is_empty() && nothing.images.is_empty());
    }

    #[test]
    fn every_camera_goes_into_a_latent() {
        let model = model_of(2, 1, vec![4, 4]);
        let dark: Vec<_> = (0..=6).map(|_| Image::filled(16, 16, [9; 3])).collect();
        let bright = vec![Image::filled(16, 16, [200; 3]); 7];
        let [dark, bright] = [dark, bright].map(|other| {
            let footage = episode(6).with_others(&[other], 2);
            footage.encode(&model).unwrap().latents
        });
        assert_eq!(dark.len(), 4);
        assert!(dark.iter().zip(&bright).all(|(a, b)| a != b));
        let error = episode(6).encode(&model).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "pictures of a frame: expected 2, found 1");
    }

    #[test]
    fn windows_have_a_history_behind_and_steps_ahead() {
        let model = model(2, vec![4, 4]);
        let encoded = [episode(12), episode(3)].map(|each| each.encode(&model).unwrap());
        let starts = |steps, stride| {
            let found = windows(&encoded, 2, steps, stride);
            found
                .iter()
                .map(|window| (window.episode, window.start))
                .collect::<Vec<_>>()
        };
        assert_eq!(starts(3, 2), [(0, 1), (0, 3)]);
        assert_eq!(starts(6, 1), []);
        assert_eq!(starts(5, 1), [(0, 1)]);
    }

    #[test]
    fn windows_together_are_as_each_alone() {
        let model = model(2, vec![4, 4]);
        let encoded = [episode(12), episode(20)].map(|each| each.encode(&model).unwrap());
        let windows = windows(&encoded, 2, 3, 1);
        let together = predict(&model, &encoded, &windows, 3);
        assert_eq!(together.len(), windows.len() * 3 * 12);
        let last = windows.len() - 1;
        let alone = predict(&model, &encoded, &windows[last..], 3);
        assert!(latent_error(&alone, &together[last * 36..]) < 1e-10);
        let first = predict(&model, &encoded, &windows[..1], 1);
        assert!(latent_error(&first, &together[..12]) < 1e-10);
    }

    #[test]
    fn variance_by_hand() {
        let encoded = |latents: &[[f32; 2]]| Encoded {
            latents: latents.iter().map(|latent| latent.to_vec()).collect(),
            ..Encoded::default()
        };
        let episodes = [encoded(&[[0.0, 1.0], [2.0, 1.0]]), encoded(&[[4.0, 1.0]])];
        assert!((variance(&episodes) - 8.0 / 6.0).abs() < 1e-12);
        assert_eq!(variance(&[]), 0.0);
    }

    #[test]
    fn actions_of_another_width_are_named() {
        let mut footage = episode(6);
        footage.blocks[1].pop();
        let error = footage
            .encode(&model(1, vec![4, 4]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("4 values") && error.contains("found 3"),
            "{error}"
        );
    }
}
