//! Diffusion Policy: noise to a chunk of actions, step by step, as pictures and states say.
//!
//! [Chi et al.](https://arxiv.org/abs/2303.04137), exactly as LeRobot 0.6.1 has it (`src/lerobot/policies/diffusion/modeling_diffusion.py`):
//! keypoints of a ResNet-18's features and the states of the last steps condition a U-Net that takes the noise off actions. In training
//! it learns to tell the noise that was added; when acting it begins with noise alone.

mod config;
mod published;
mod scheduler;
mod unet;
mod vision;

use std::path::Path;

use armilla_core::features::STATE;
use armilla_nn::checkpoint::Weights;
use armilla_nn::checkpoint::foreign::Rule;
use armilla_nn::random::{below, seeded};
use armilla_nn::reduction::mean;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::batch::{PolicyBatch, PolicyObservations};
use crate::error::{Error, Result};
use crate::lerobot::features::ENVIRONMENT_STATE;
use crate::lerobot::{
    Draws, FeatureKind, Horizons, Mode, Modes, PolicyInputs, PolicyLoss, PolicyModel, Settings,
};

use unet::Unet;
use vision::Vision;

pub use config::DiffusionConfig;
pub use published::diffusion_rules;
pub use scheduler::{Betas, Prediction, Sampler, Scheduler, SchedulerConfig};

/// The policy.
#[derive(Module, Debug)]
pub struct Diffusion {
    /// One for all cameras, or one for each.
    vision: Vec<Vision>,
    unet: Unet,
    #[module(skip)]
    config: DiffusionConfig,
    #[module(skip)]
    inputs: PolicyInputs,
}

impl DiffusionConfig {
    /// Without drawing weights, which are to be loaded.
    fn build(&self, inputs: &PolicyInputs, device: &Device) -> Diffusion {
        let cameras = inputs.cameras.as_slice();
        let encoders = if self.separate_encoders {
            cameras
        } else {
            &cameras[..cameras.len().min(1)]
        };
        let vision = encoders
            .iter()
            .map(|camera| self.vision([camera.height, camera.width], device));
        let states = inputs.state.into_iter().chain(inputs.environment_state);
        let features = cameras.len() * self.features() + states.sum::<usize>();
        Diffusion {
            vision: vision.collect(),
            unet: self.unet(inputs.action, self.history * features, device),
            config: self.clone(),
            inputs: inputs.clone(),
        }
    }
}

impl PolicyModel for Diffusion {
    const KIND: &'static str = "diffusion";
    type Config = DiffusionConfig;

    fn horizons(config: &DiffusionConfig) -> Horizons {
        Horizons {
            history: config.history,
            action: config.action_horizon,
            receding: config.receding_horizon,
            published_chunk: config.receding_horizon,
            ensemble: None,
        }
    }

    fn modes() -> Modes {
        [
            (FeatureKind::Visual, Mode::MeanStd),
            (FeatureKind::State, Mode::MinMax),
            (FeatureKind::Action, Mode::MinMax),
        ]
        .into()
    }

    fn continues() -> bool {
        true
    }

    fn init(
        config: &DiffusionConfig,
        inputs: &PolicyInputs,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        config.validate(inputs)?;
        Ok(seeded(device, seed, || config.build(inputs, device)))
    }

    fn unloaded(config: &DiffusionConfig, inputs: &PolicyInputs, device: &Device) -> Result<Self> {
        config.validate(inputs)?;
        Ok(config.build(inputs, device))
    }

    fn config(&self) -> &DiffusionConfig {
        &self.config
    }

    fn inputs(&self) -> &PolicyInputs {
        &self.inputs
    }

    /// Draws `noise`, where sampling begins, `[batch, action_horizon, action]`, and `noise.steps`, as much for each step that adds some.
    fn sample_actions(
        &self,
        observations: &PolicyObservations,
        draws: &mut Draws<'_>,
    ) -> Result<Tensor<3>> {
        let sensed = self.sense(observations, None)?;
        let (device, [batch, _]) = (sensed.device(), sensed.dims());
        let config = &self.config;
        let scheduler = Scheduler::new(&config.scheduler);
        let shape = [batch, config.action_horizon, self.inputs.action];
        let mut sample = draws.normal("noise", shape, &device)?;
        // What is known begins now, what is sampled at the oldest observation.
        let guidance = observations.guidance.clone();
        let guidance = guidance.map(|each| each.framed(config.history - 1, config.action_horizon));
        for (index, step) in scheduler.steps().into_iter().enumerate() {
            let steps = vec![step; batch];
            let predict = |sample| self.unet.forward(sample, &steps, sensed.clone());
            let prediction = match &guidance {
                Some(guidance) => scheduler.guided(guidance, sample.clone(), step, predict),
                None => predict(sample.clone()),
            };
            let noise = scheduler.is_noisy(step);
            let noise = noise.then(|| draws.normal_at("noise.steps", index, shape, &device));
            sample = scheduler.denoise(sample, prediction, step, noise.transpose()?);
        }
        let before = config.history - 1;
        Ok(sample.narrow(1, before, config.action_horizon - before))
    }

    /// Draws `noise`, `[batch, action_horizon, action]`; `timesteps`, `[batch]`; and where crops lie anywhere `crop`, the first row and
    /// column of each encoder's, `[encoders * 2]`.
    fn loss(&self, batch: &PolicyBatch, draws: &mut Draws<'_>) -> Result<PolicyLoss> {
        let [count, horizon, width] = batch.actions.dims();
        let noise = draws.normal("noise", [count, horizon, width], &batch.actions.device())?;
        let all = self.config.scheduler.training_steps;
        let steps = draws.each("timesteps", count, |generator| below(generator, all) as f32)?;
        let steps: Vec<usize> = steps.into_iter().map(|step| step as usize).collect();
        if let Some(step) = steps.iter().find(|&&step| step >= all) {
            let error = armilla_core::Error::invalid("timesteps", format!("below {all}"), step);
            return Err(error.into());
        }
        let corners = self.corners(draws)?;
        let sensed = self.sense(&batch.observations, corners.as_deref())?;
        let scheduler = Scheduler::new(&self.config.scheduler);
        let actions = batch.actions.clone();
        let sample = scheduler.add_noise(actions.clone(), noise.clone(), &steps);
        let prediction = self.unet.forward(sample, &steps, sensed);
        let error = (prediction - scheduler.target(actions, noise)).square();
        let total = match self.config.mask_padding {
            false => mean(error),
            true => {
                let weight: Tensor<3> = batch.weight.clone().unsqueeze_dim(2);
                let entries = (count * horizon * width) as f64;
                let valid = mean(weight.clone()) * entries;
                mean(error * weight) * entries / valid.clamp_min(1.0)
            }
        };
        Ok(PolicyLoss {
            total,
            figures: Vec::new(),
        })
    }

    fn rules(&self) -> Vec<Rule> {
        diffusion_rules(&self.config)
    }

    fn ignores(name: &str) -> bool {
        published::is_counter(name)
    }

    fn complete(arrays: &mut Weights) {
        published::add_counters(arrays);
    }

    fn read_settings(text: &str, path: &Path) -> Result<Settings<DiffusionConfig>> {
        published::read_settings(text, path)
    }

    fn written_settings(settings: &Settings<DiffusionConfig>) -> serde_json::Result<String> {
        published::written_settings(settings)
    }
}

impl Diffusion {
    /// Where the crops of training begin, if they lie anywhere.
    fn corners(&self, draws: &mut Draws<'_>) -> Result<Option<Vec<[usize; 2]>>> {
        if !self.config.random_crop || self.config.cropped().is_none() {
            return Ok(None);
        }
        let camera = self.inputs.cameras.first();
        let size = camera.map_or([0; 2], |camera| [camera.height, camera.width]);
        let whole = self.config.resize.unwrap_or(size);
        let seen = self.config.seen(size);
        let free = [0, 1].map(|axis| whole[axis] - seen[axis]);
        let mut axis = 1;
        let drawn = draws.each("crop", 2 * self.vision.len(), |generator| {
            axis = 1 - axis;
            below(generator, free[axis] + 1) as f32
        })?;
        let corner = |pair: &[f32]| [0, 1].map(|axis| (pair[axis] as usize).min(free[axis]));
        Ok(Some(drawn.chunks_exact(2).map(corner).collect()))
    }

    /// All that is sensed, `[batch, history * features]`, with crops where they are told to be or in the middle.
    fn sense(
        &self,
        observations: &PolicyObservations,
        corners: Option<&[[usize; 2]]>,
    ) -> Result<Tensor<2>> {
        let missing = |key: &str| {
            Error::from(armilla_core::Error::invalid(
                key,
                "what the policy takes",
                "none",
            ))
        };
        let state = observations.state.clone();
        let mut features = vec![state.ok_or_else(|| missing(STATE))?];
        if observations.images.len() != self.inputs.cameras.len() {
            return Err(missing("observation.images"));
        }
        let [batch, history, _] = features[0].dims();
        let each = observations.images.len() / self.vision.len().max(1);
        for (index, vision) in self.vision.iter().enumerate() {
            let images = &observations.images[index * each..][..each];
            let images = Tensor::cat(images.to_vec(), 0); // [cameras * batch, history, height, width, 3]
            let corner = corners.map(|corners| corners[index]);
            let images = self.config.frame(images.flatten(0, 1), corner);
            let values = vision.forward(images);
            let width = values.dims()[1];
            let values = values.reshape([each, batch, history, width]);
            features.extend(values.iter_dim(0).map(|camera| camera.squeeze_dim(0)));
        }
        if self.inputs.environment_state.is_some() {
            let state = observations.environment_state.clone();
            features.push(state.ok_or_else(|| missing(ENVIRONMENT_STATE))?);
        }
        Ok(Tensor::cat(features, 2).flatten(1, 2))
    }
}

#[cfg(test)]
mod tests;
