//! A trained goal policy before an environment.

use armilla_core::{
    Action, ActionChunk, EnvironmentSpec, EpisodeId, Image, Normalization, Observation, Policy,
    PolicyRequest,
};
use armilla_nn::images::images_to_tensor;
use burn::module::Module as _;
use burn::tensor::{Device, Tensor};

use super::{CONFIG, GoalPolicy};
use crate::error::Result;

/// Drives an environment to its goal pictures.
pub struct GoalCloning {
    model: GoalPolicy,
    device: Device,
    low: Vec<f32>,
    high: Vec<f32>,
    period_secs: f64,
    /// Actions of a chunk, at most.
    horizon: usize,
}

impl GoalCloning {
    /// Puts a trained model before an environment.
    ///
    /// # Errors
    ///
    /// When the environment has not the camera, or its actions not the width, the units and the rate, that the model was trained on.
    pub fn new(model: GoalPolicy, spec: &EnvironmentSpec) -> Result<Self> {
        let (expected, found) = (model.shape.action_mean.len(), spec.action_low.len());
        if expected != found {
            let what = format!("actions of environment {}", spec.name);
            let expected = format!("{expected} values, as the policy was trained on");
            return Err(armilla_core::Error::invalid(what, expected, found).into());
        }
        let camera = std::slice::from_ref(&model.shape.camera);
        spec.check_cameras(camera, model.shape.side, CONFIG)?;
        spec.check_rate(model.shape.fps, CONFIG)?;
        spec.check_bounds()?;
        if !model.shape.action_min.is_empty() {
            let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
            let extremes = [&model.shape.action_min, &model.shape.action_max];
            let [low, high]: [Vec<f32>; 2] = extremes.map(|values| narrow(values));
            spec.check_units(&low, &high)?;
        }
        Ok(Self {
            device: model.devices().into_iter().next().unwrap_or_default(),
            low: spec.action_low.clone(),
            high: spec.action_high.clone(),
            period_secs: 1.0 / spec.rate_hz,
            horizon: model.config.receding_horizon,
            model,
        })
    }

    /// Gives all predicted actions, for who averages them or asks for the next before they are carried out.
    #[must_use]
    pub fn with_whole_chunks(self) -> Self {
        Self {
            horizon: usize::MAX,
            ..self
        }
    }

    /// The picture and the goal of each request, one after the other.
    fn pixels(&self, requests: &[PolicyRequest]) -> armilla_core::Result<[Vec<u8>; 2]> {
        let (shape, mut pixels) = (&self.model.shape, [Vec::new(), Vec::new()]);
        for request in requests {
            let Observation { images, goal, .. } = &request.observation;
            let goal = goal
                .as_ref()
                .and_then(|goal| goal.images.get(&shape.camera));
            let found = [images.get(&shape.camera), goal];
            let names = [
                format!("picture of camera `{}`", shape.camera),
                "goal picture".to_owned(),
            ];
            for ((pixels, image), name) in pixels.iter_mut().zip(found).zip(names) {
                let expected = format!("{0} x {0}", shape.side);
                let size = image.map(|image: &Image| [image.height(), image.width()]);
                let Some(image) = image.filter(|_| size == Some([shape.side; 2])) else {
                    let found = size.map_or("none".to_owned(), |[h, w]| format!("{h} x {w}"));
                    return Err(armilla_core::Error::invalid(name, expected, found));
                };
                pixels.extend_from_slice(image.data());
            }
        }
        Ok(pixels)
    }
}

impl Policy for GoalCloning {
    fn name(&self) -> &'static str {
        "goal-cloning"
    }

    fn reset(&mut self, _episode: EpisodeId) -> armilla_core::Result<()> {
        Ok(())
    }

    fn act(&mut self, requests: &[PolicyRequest]) -> armilla_core::Result<Vec<ActionChunk>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let pixels = self.pixels(requests)?;
        let (shape, config) = (&self.model.shape, &self.model.config);
        let size = [requests.len(), shape.side, shape.side];
        let pictures = pixels.map(|pixels| images_to_tensor(&pixels, size, &self.device));
        let actions = self.model.forward(Tensor::cat(pictures.to_vec(), 3));
        let mut actions: Vec<f32> = actions.into_data().iter::<f32>().collect();
        shape
            .statistics()
            .unnormalize(Normalization::MeanStd, &mut actions);
        let width = shape.action_mean.len();
        let bounded = |values: &[f32]| {
            let bounds = self.low.iter().zip(&self.high);
            let values = values.iter().zip(bounds);
            Action(
                values
                    .map(|(value, (low, high))| value.clamp(*low, *high))
                    .collect(),
            )
        };
        let chunks = requests
            .iter()
            .zip(actions.chunks(config.action_horizon * width));
        let chunks = chunks.map(|(request, actions)| ActionChunk {
            actions: actions
                .chunks(width)
                .take(self.horizon)
                .map(bounded)
                .collect(),
            starts_at_secs: request.observation.captured_at_secs,
            period_secs: self.period_secs,
        });
        let chunks: Vec<_> = chunks.collect();
        for chunk in &chunks {
            chunk.check(width)?;
        }
        Ok(chunks)
    }
}
