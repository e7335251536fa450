//! Training goal-conditioned behaviour cloning.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use armilla_core::features::ACTION;
use armilla_data::{LaterSpec, WindowLoader, WindowSpec};
use armilla_train::{BatchSource, BoxError, Loss, RunDirectory, StepContext, Trainable};
use armilla_vla::{GoalBatch, GoalPolicy, GoalPolicyConfig, GoalShape};
use burn::module::Module;
use burn::tensor::Device;

use super::data::{ModelInputs, TrainingData, preload, state_of_source};
use super::{Sources, TrainOutcome, TrainRunConfig, finish};
use crate::progress::say;

/// Trains one.
pub(super) fn train(
    config: &TrainRunConfig,
    policy: &GoalPolicyConfig,
    data: &TrainingData,
    run: &RunDirectory,
    device: &Device,
) -> Result<TrainOutcome> {
    check(policy, data)?;
    let spec = WindowSpec {
        allow_short_tail: true,
        later: Some(LaterSpec {
            min_steps: 1,
            max_steps: policy.goal_max_steps,
            last_share: policy.goal_last_share,
        }),
        ..WindowSpec::new(&[0], policy.action_horizon)
    };
    data.check_statistics(&[ACTION])?;
    let kept = data.kept(config, spec.clone(), ModelInputs::Policy(1))?;
    let loader = Arc::new(data.loader(config, spec, ModelInputs::Policy(1))?);
    let camera = &loader.cameras()[0];
    let actions = data.statistics(&loader, ACTION)?;
    let shape = GoalShape {
        camera: camera.name.clone(),
        side: camera.height,
        action_mean: actions.mean,
        action_std: actions.std,
        action_min: actions.min,
        action_max: actions.max,
        fps: Some(data.fps().into()),
    };
    let device = device.clone().autodiff();
    let model = policy.init(&shape, config.train.seed, &device)?;
    kept.iter().chain([&*loader]).try_for_each(preload)?;
    say(&format!(
        "goal policy: {} parameters, {} windows",
        model.num_params(),
        loader.len()
    ));
    let windows = |loader, device: Device| GoalWindows {
        loader,
        policy: policy.clone(),
        shape: shape.clone(),
        device,
    };
    let mut source = windows(loader, device.clone());
    let mut kept = kept.map(|loader| windows(Arc::new(loader), device.clone().inner()));
    let export = |model: &GoalTraining, folder: &Path| -> Result<(), BoxError> {
        Ok(model.policy.save(folder)?)
    };
    finish(
        config,
        run,
        GoalTraining { policy: model },
        Sources {
            training: &mut source,
            validation: kept.as_mut().map(|source| source as _),
        },
        &export,
    )
}

/// Checks the settings against what was recorded, before pictures are decoded.
fn check(policy: &GoalPolicyConfig, data: &TrainingData) -> Result<()> {
    let name = data.cameras(1)?.concat();
    let mut cameras = data.features().cameras();
    let shape = cameras.find(|(known, _)| *known == name);
    let shape = shape.map_or([0, 0], |(_, camera)| [camera.shape[0], camera.shape[1]]);
    let [height, width] = shape;
    ensure!(
        height == width,
        "camera `{name}`: expected square pictures, found {height} x {width}"
    );
    let width = data.features().width(ACTION);
    Ok(policy.validate(&GoalShape {
        camera: name,
        side: height,
        action_mean: vec![0.0; width],
        action_std: vec![1.0; width],
        action_min: vec![-1.0; width],
        action_max: vec![1.0; width],
        fps: None,
    })?)
}

/// A policy in training.
#[derive(Module, Debug)]
struct GoalTraining {
    policy: GoalPolicy,
}

impl Trainable for GoalTraining {
    type Batch = GoalBatch;

    fn loss(&self, batch: GoalBatch, _: StepContext) -> Result<Loss, BoxError> {
        Ok(Loss {
            total: self.policy.loss(batch),
            figures: Vec::new(),
        })
    }
}

/// Windows of a recording for it.
struct GoalWindows {
    loader: Arc<WindowLoader>,
    policy: GoalPolicyConfig,
    shape: GoalShape,
    device: Device,
}

impl BatchSource for GoalWindows {
    type Batch = GoalBatch;

    fn batch(&mut self, step: u64) -> Result<GoalBatch, BoxError> {
        let windows = self.loader.batch(step)?;
        Ok(GoalBatch::from_windows(
            &windows,
            &self.policy,
            &self.shape,
            &self.device,
        )?)
    }

    fn state(&self) -> serde_json::Value {
        let settings = serde_json::to_value(&self.policy).unwrap_or_default();
        state_of_source(&self.loader, &settings)
    }
}
