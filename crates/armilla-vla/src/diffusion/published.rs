//! Diffusion Policy's `config.json` and weights as LeRobot 0.6.1 writes and reads them.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_nn::checkpoint::Weights;
use armilla_nn::checkpoint::foreign::{Layout, Rule};
use armilla_nn::resnet::{ResNet18, ResNetNames, resnet_rules};
use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::scheduler::{Betas, Prediction, Sampler, SchedulerConfig};
use super::{Diffusion, DiffusionConfig};
use crate::error::{Error, Result};
use crate::lerobot::{
    FeatureKind, Features, Mode, PolicyInputs, PolicyModel as _, Settings, check_kept, nullable,
};

/// What PyTorch's batch normalisation counts beside its statistics.
const COUNTER: &str = "num_batches_tracked";

/// LeRobot's schedules of noise.
const SQUARED_COSINE: &str = "squaredcos_cap_v2";
const LINEAR: &str = "linear";
/// What LeRobot writes for both ends where the schedule has none.
const UNUSED_BETAS: [f64; 2] = [1e-4, 0.02];

/// Keys of its `config.json` alone that change nothing of what loaded weights compute.
const KEPT: [&str; 8] = [
    "drop_n_last_frames",
    "gradient_checkpointing",
    "compile_model",
    "compile_mode",
    "optimizer_betas",
    "optimizer_eps",
    "scheduler_name",
    "scheduler_warmup_steps",
];

/// `config.json`. Every key that changes the result must be there: defaults differ between versions.
#[derive(Serialize, Deserialize)]
struct Published {
    #[serde(rename = "type")]
    kind: String,
    n_obs_steps: usize,
    horizon: usize,
    n_action_steps: usize,
    input_features: Features,
    output_features: Features,
    normalization_mapping: BTreeMap<FeatureKind, Mode>,
    vision_backbone: String,
    /// Older versions resized nothing and have neither this nor the ratio.
    #[serde(default)]
    resize_shape: Option<[usize; 2]>,
    #[serde(default = "whole")]
    crop_ratio: f64,
    /// Follows from both where pictures are resized.
    #[serde(deserialize_with = "nullable")]
    crop_shape: Option<[usize; 2]>,
    crop_is_random: bool,
    /// Always written as null, so that LeRobot downloads nothing before it loads the weights.
    #[serde(default)]
    pretrained_backbone_weights: Option<String>,
    use_group_norm: bool,
    spatial_softmax_num_keypoints: usize,
    use_separate_rgb_encoder_per_camera: bool,
    down_dims: Vec<usize>,
    kernel_size: usize,
    n_groups: usize,
    diffusion_step_embed_dim: usize,
    use_film_scale_modulation: bool,
    noise_scheduler_type: String,
    num_train_timesteps: usize,
    beta_schedule: String,
    beta_start: f64,
    beta_end: f64,
    prediction_type: String,
    clip_sample: bool,
    clip_sample_range: f64,
    #[serde(deserialize_with = "nullable")]
    num_inference_steps: Option<usize>,
    do_mask_loss_for_padding: bool,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn whole() -> f64 {
    1.0
}

/// Reads `config.json`.
pub(super) fn read_settings(text: &str, path: &Path) -> Result<Settings<DiffusionConfig>> {
    let published: Published = serde_json::from_str(text).map_err(|error| {
        Error::checkpoint(path, "(whole file)", "settings of Diffusion Policy", error)
    })?;
    published.settings(path)
}

/// Gives `config.json`.
pub(super) fn written_settings(settings: &Settings<DiffusionConfig>) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Published::new(settings))
}

/// Whether an array is what PyTorch's batch normalisation counts.
pub(super) fn is_counter(name: &str) -> bool {
    name.ends_with(COUNTER)
}

/// Adds what PyTorch's batch normalisation counts.
pub(super) fn add_counters(arrays: &mut Weights) {
    let norms: Vec<String> = arrays
        .keys()
        .filter_map(|name| name.strip_suffix("running_mean").map(str::to_owned))
        .collect();
    for norm in norms {
        let counter = TensorData::new(vec![0.0f32], [0usize; 0]);
        arrays.insert(norm + COUNTER, counter);
    }
}

impl Published {
    fn new(settings: &Settings<DiffusionConfig>) -> Self {
        let (config, inputs) = (&settings.config, &settings.inputs);
        let scheduler = &config.scheduler;
        let (schedule, [beta_start, beta_end]) = match scheduler.betas {
            Betas::SquaredCosine => (SQUARED_COSINE, UNUSED_BETAS),
            Betas::Linear { start, end } => (LINEAR, [start, end]),
        };
        Self {
            kind: Diffusion::KIND.to_owned(),
            n_obs_steps: config.history,
            horizon: config.action_horizon,
            n_action_steps: config.receding_horizon,
            input_features: inputs.inputs(),
            output_features: inputs.outputs(),
            normalization_mapping: settings.modes.clone(),
            vision_backbone: "resnet18".to_owned(),
            resize_shape: config.resize,
            crop_ratio: config.crop_ratio,
            crop_shape: config.cropped(),
            crop_is_random: config.random_crop,
            pretrained_backbone_weights: None,
            use_group_norm: config.group_norm,
            spatial_softmax_num_keypoints: config.keypoints,
            use_separate_rgb_encoder_per_camera: config.separate_encoders,
            down_dims: config.widths.clone(),
            kernel_size: config.taps,
            n_groups: config.groups,
            diffusion_step_embed_dim: config.step_width,
            use_film_scale_modulation: config.scale,
            noise_scheduler_type: sampler_name(scheduler.sampler).to_owned(),
            num_train_timesteps: scheduler.training_steps,
            beta_schedule: schedule.to_owned(),
            beta_start,
            beta_end,
            prediction_type: prediction_name(scheduler.prediction).to_owned(),
            clip_sample: scheduler.clip.is_some(),
            clip_sample_range: scheduler.clip.unwrap_or(1.0),
            num_inference_steps: scheduler.sampling_steps,
            do_mask_loss_for_padding: config.mask_padding,
            rest: settings.kept.clone(),
        }
    }
}

fn sampler_name(sampler: Sampler) -> &'static str {
    match sampler {
        Sampler::Ddpm => "DDPM",
        Sampler::Ddim => "DDIM",
    }
}

fn prediction_name(prediction: Prediction) -> &'static str {
    match prediction {
        Prediction::Noise => "epsilon",
        Prediction::Actions => "sample",
    }
}

impl Published {
    /// Our settings.
    fn settings(self, path: &Path) -> Result<Settings<DiffusionConfig>> {
        let wrong = |key: &str, expected: &str, found: String| {
            Err(Error::checkpoint(path, key, expected, found))
        };
        check_kept(&self.rest, &KEPT, "Diffusion Policy", path)?;
        for (key, expected, found) in [
            ("type", Diffusion::KIND, &self.kind),
            ("vision_backbone", "resnet18", &self.vision_backbone),
        ] {
            if found != expected {
                return wrong(key, expected, found.clone());
            }
        }
        let inputs =
            PolicyInputs::from_features(&self.input_features, &self.output_features, path)?;
        let config = DiffusionConfig {
            history: self.n_obs_steps,
            action_horizon: self.horizon,
            receding_horizon: self.n_action_steps,
            resize: self.resize_shape,
            crop_ratio: self.crop_ratio,
            crop: self.crop_shape.filter(|_| self.resize_shape.is_none()),
            random_crop: self.crop_is_random,
            group_norm: self.use_group_norm,
            keypoints: self.spatial_softmax_num_keypoints,
            separate_encoders: self.use_separate_rgb_encoder_per_camera,
            widths: self.down_dims.clone(),
            taps: self.kernel_size,
            groups: self.n_groups,
            step_width: self.diffusion_step_embed_dim,
            scale: self.use_film_scale_modulation,
            scheduler: self.scheduler(path)?,
            mask_padding: self.do_mask_loss_for_padding,
        };
        Ok(Settings {
            config,
            inputs,
            modes: self.normalization_mapping,
            kept: self.rest,
        })
    }

    fn scheduler(&self, path: &Path) -> Result<SchedulerConfig> {
        let wrong = |key: &str, expected: String, found: &str| {
            Error::checkpoint(path, key, expected, found)
        };
        let samplers = [Sampler::Ddpm, Sampler::Ddim];
        let sampler = samplers
            .into_iter()
            .find(|&sampler| sampler_name(sampler) == self.noise_scheduler_type)
            .ok_or_else(|| {
                let expected = samplers.map(sampler_name).join(" or ");
                wrong("noise_scheduler_type", expected, &self.noise_scheduler_type)
            })?;
        let predictions = [Prediction::Noise, Prediction::Actions];
        let prediction = predictions
            .into_iter()
            .find(|&prediction| prediction_name(prediction) == self.prediction_type)
            .ok_or_else(|| {
                let expected = predictions.map(prediction_name).join(" or ");
                wrong("prediction_type", expected, &self.prediction_type)
            })?;
        let betas = match self.beta_schedule.as_str() {
            SQUARED_COSINE => Betas::SquaredCosine,
            LINEAR => Betas::Linear {
                start: self.beta_start,
                end: self.beta_end,
            },
            other => {
                let expected = [SQUARED_COSINE, LINEAR].join(" or ");
                return Err(wrong("beta_schedule", expected, other));
            }
        };
        Ok(SchedulerConfig {
            sampler,
            training_steps: self.num_train_timesteps,
            sampling_steps: self.num_inference_steps,
            betas,
            prediction,
            clip: self.clip_sample.then_some(self.clip_sample_range),
        })
    }
}

/// Where LeRobot's Diffusion Policy of these settings has what a [`Diffusion`] has.
#[must_use]
pub fn diffusion_rules(config: &DiffusionConfig) -> Vec<Rule> {
    let (ours, theirs) = if config.separate_encoders {
        ("vision.*", "rgb_encoder.*")
    } else {
        ("vision.0", "rgb_encoder")
    };
    let vision = vision_rules(config).into_iter();
    let mut rules: Vec<Rule> = vision.map(|rule| rule.under(ours, theirs)).collect();
    let unet = unet_rules(config.taps).into_iter();
    rules.extend(unet.map(|rule| rule.under("unet", "unet")));
    let model = rules.into_iter().map(|rule| Rule {
        theirs: format!("diffusion.{}", rule.theirs),
        ..rule
    });
    model.collect()
}

/// Of one encoder.
fn vision_rules(config: &DiffusionConfig) -> Vec<Rule> {
    let channels = ResNet18::FEATURES;
    let maps = Rule::new("maps", "pool.nets").with_layout(Layout::Convolution { channels });
    let mut rules = vec![
        maps,
        Rule::new("places", "pool.pos_grid"),
        Rule::new("output", "out"),
    ];
    let backbone = resnet_rules(config.norm(), ResNetNames::Sequential).into_iter();
    rules.extend(backbone.map(|rule| rule.under("backbone", "backbone")));
    rules
}

/// Of the network whose convolutions cover so many steps.
fn unet_rules(taps: usize) -> Vec<Rule> {
    let sequence = |ours: &str, theirs: &str, taps| {
        Rule::new(ours, theirs).with_layout(Layout::Sequence { taps })
    };
    let grow = Layout::SequenceUp { taps: 4 };
    let mut rules = vec![
        Rule::new("step.0", "diffusion_step_encoder.1"),
        Rule::new("step.1", "diffusion_step_encoder.3"),
        sequence("down.*.shrink.kernel", "down_modules.*.2", 3),
        Rule::new("up.*.grow.kernel", "up_modules.*.2").with_layout(grow),
        Rule::new("up.*.grow.bias", "up_modules.*.2.bias"),
        sequence("last.conv.kernel", "final_conv.0.block.0", taps),
        Rule::new("last.norm", "final_conv.0.block.1"),
        sequence("action", "final_conv.1", 1),
    ];
    for (ours, theirs) in [
        ("down.*.blocks.*", "down_modules.*.*"),
        ("middle.*", "mid_modules.*"),
        ("up.*.blocks.*", "up_modules.*.*"),
    ] {
        let block = [
            sequence("first.conv.kernel", "conv1.block.0", taps),
            Rule::new("first.norm", "conv1.block.1"),
            Rule::new("modulation", "cond_encoder.1"),
            sequence("second.conv.kernel", "conv2.block.0", taps),
            Rule::new("second.norm", "conv2.block.1"),
            sequence("shortcut", "residual_conv", 1),
        ];
        rules.extend(block.into_iter().map(|rule| rule.under(ours, theirs)));
    }
    rules
}

#[cfg(test)]
mod tests;
