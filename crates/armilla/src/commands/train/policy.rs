//! Training a policy of any kind.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use armilla_core::features::{ACTION, STATE, camera_key};
use armilla_core::{Feature, Statistics};
use armilla_data::{WindowLoader, WindowSpec};
use armilla_train::{BatchSource, BoxError, Loss, RunDirectory, StepContext, Trainable};
use armilla_vla::lerobot::checkpoint::RATE;
use armilla_vla::lerobot::{
    Camera, Draws, Mode, Modes, PolicyVisitor, Processors, WordProcessor, arrays,
};
use armilla_vla::{Checkpoint, PolicyBatch, PolicyConfig, PolicyInputs, PolicyModel, Tokenizer};
use burn::module::{Module, ModuleDisplay};
use burn::tensor::Device;
use serde_json::Map;

use super::data::{ModelInputs, TrainingData, preload, state_of_source};
use super::evaluation;
use super::{Sources, TrainOutcome, TrainRunConfig, finish};
use crate::progress::say;

/// Trains one.
pub(super) fn train(
    config: &TrainRunConfig,
    policy: &PolicyConfig,
    data: &TrainingData,
    run: &RunDirectory,
    device: &Device,
) -> Result<TrainOutcome> {
    policy.visit(Start {
        config,
        data,
        run,
        device: device.clone().autodiff(),
    })
}

/// A training of a kind that is not known yet.
struct Start<'a> {
    config: &'a TrainRunConfig,
    data: &'a TrainingData,
    run: &'a RunDirectory,
    device: Device,
}

impl PolicyVisitor for Start<'_> {
    type Output = Result<TrainOutcome>;

    fn visit<M: PolicyModel + ModuleDisplay>(self, policy: &M::Config) -> Self::Output {
        let cameras = self.data.camera_count().min(M::CAMERAS);
        self.data.check_statistics(&[ACTION, STATE])?;
        let mut inputs = inputs(self.data, cameras)?;
        let words = M::reads().then(|| self.words::<M>(policy)).transpose()?;
        inputs.vocabulary = words.as_ref().map(|words| words.tokenizer.vocabulary());
        // Before windows are as long as a setting that may be any number, and before anything is read.
        let model = M::init(policy, &inputs, self.config.train.seed, &self.device)?;
        let horizons = M::horizons(policy);
        let history = horizons.history as i64;
        let offsets: Vec<i64> = (1 - history..=0).collect();
        let spec = WindowSpec {
            allow_short_tail: true,
            ..WindowSpec::new(&offsets, horizons.action)
        };
        let seen = ModelInputs::Policy(cameras);
        let kept = self.data.kept(self.config, spec.clone(), seen)?;
        let loader = Arc::new(self.data.loader(self.config, spec, seen)?);
        let mut known = loader.statistics();
        check_statistics(&known, &inputs, &M::modes())?;
        say_what_is_still(&hold_still(&mut known));
        let statistics = arrays(&known, &inputs);
        let processors = Processors {
            words,
            ..Processors::new(&inputs, &M::modes(), &statistics)
        };
        if let Some(wanted) = &self.config.evaluation {
            evaluation::check_fits(wanted, &inputs, &processors, self.data.fps())?;
        }
        kept.iter().chain([&*loader]).try_for_each(preload)?;
        say(&format!(
            "policy: {} parameters, {} windows",
            Module::num_params(&model),
            loader.len()
        ));
        let of_model = serde_json::to_value(policy)?;
        let windows = |loader, device: Device| PolicyWindows {
            loader,
            inputs: inputs.clone(),
            processors: processors.clone(),
            settings: of_model.clone(),
            device,
        };
        let mut source = windows(loader, self.device.clone());
        let mut kept = kept.map(|loader| windows(Arc::new(loader), self.device.clone().inner()));
        let mut settings = serde_json::to_value(self.config)?;
        settings[RATE] = self.data.fps().into();
        let export = |model: &PolicyTraining<M>, folder: &Path| -> Result<(), BoxError> {
            let trained = Checkpoint {
                model: model.policy.clone(),
                processors: processors.clone(),
                kept: Map::new(),
                train_config: Some(settings.clone()),
            };
            Ok(trained.save(folder)?)
        };
        let model = PolicyTraining { policy: model };
        let sources = Sources {
            training: &mut source,
            validation: kept.as_mut().map(|source| source as _),
        };
        finish(self.config, self.run, model, sources, &export)
    }
}

/// Refuses features that a policy scales, of which there is nothing to scale them by: datasets of other widths have none in common.
fn check_statistics(known: &Statistics, inputs: &PolicyInputs, modes: &Modes) -> Result<()> {
    for (key, feature) in [inputs.inputs().0, inputs.outputs().0].concat() {
        let scaled = modes.get(&feature.kind);
        if scaled.is_none_or(|mode| *mode == Mode::Identity) {
            continue;
        }
        let width = feature.shape.first().copied().unwrap_or(1);
        let found = known.get(&key).map_or(0, |known| known.mean.len());
        ensure!(
            found == width,
            "statistics of `{key}`: expected {width} values that all datasets have, found {found}; `armilla dataset stats DATASET --recount --in-place` counts them, and datasets of a [[mixture]] need equal widths"
        );
    }
    Ok(())
}

/// Half the range, and the deviation, that values of a state are given that never moved in the recordings.
const STILL: f64 = 1e6;

/// Makes values of the state that never moved 0 for the policy, whatever they are: over next to no deviation, as LeRobot has it, a robot's
/// hundredth would be a million, of which no recording told anything. Gives their places.
fn hold_still(known: &mut Statistics) -> Vec<usize> {
    let Some(state) = known.get_mut(STATE) else {
        return Vec::new();
    };
    let is_still = |&at: &usize| {
        let ends = state.min.get(at).zip(state.max.get(at));
        ends.is_some_and(|(low, high)| low >= high)
            || state.std.get(at).is_some_and(|std| *std <= 1e-8)
    };
    let still: Vec<_> = (0..state.mean.len()).filter(is_still).collect();
    // What a dataset does not tell, as older ones do not their quantiles, stays untold.
    let set = |values: &mut Vec<f64>, at: usize, to: f64| {
        values.get_mut(at).into_iter().for_each(|value| *value = to);
    };
    for &at in &still {
        let middle = state.mean[at];
        set(&mut state.std, at, STILL);
        for low in [&mut state.min, &mut state.q01, &mut state.q10] {
            set(low, at, middle - STILL);
        }
        for high in [&mut state.max, &mut state.q90, &mut state.q99] {
            set(high, at, middle + STILL);
        }
    }
    still
}

fn say_what_is_still(still: &[usize]) {
    if !still.is_empty() {
        say(&format!(
            "`{STATE}`: of values {still:?} (from 0) the policy takes no notice: they never moved in the recordings"
        ));
    }
}

impl Start<'_> {
    /// A tokenizer of all that the recordings say.
    fn words<M: PolicyModel>(&self, policy: &M::Config) -> Result<WordProcessor> {
        Ok(WordProcessor {
            tokenizer: Tokenizer::train(self.data.tasks())?,
            max_tokens: M::max_tokens(policy),
        })
    }
}

/// What recordings hold, as a policy takes it.
fn inputs(data: &TrainingData, cameras: usize) -> Result<PolicyInputs> {
    let features = data.features();
    let width = |key: &str| {
        let feature = features.0.get(key);
        feature.map(|feature| feature.shape.iter().product())
    };
    let names = data.cameras(cameras)?;
    let camera = |name: &String| {
        let mut known = features.cameras();
        let (_, Feature { shape, .. }) = known.find(|(known, _)| known == name)?;
        Some(Camera {
            key: camera_key(name),
            height: shape[0],
            width: shape[1],
        })
    };
    Ok(PolicyInputs {
        cameras: names.iter().filter_map(camera).collect(),
        state: width(STATE),
        environment_state: None,
        action: width(ACTION).unwrap_or_default(),
        vocabulary: None,
    })
}

/// A policy in training.
#[derive(Module, Debug)]
pub(crate) struct PolicyTraining<M: Module> {
    pub(crate) policy: M,
}

impl<M: PolicyModel + ModuleDisplay> Trainable for PolicyTraining<M> {
    type Batch = PolicyBatch;

    fn loss(&self, batch: PolicyBatch, context: StepContext) -> Result<Loss, BoxError> {
        // The name is from when flow matching was the only policy; another would change what every seed gives.
        let draws = &mut Draws::from_stream(context.stream("flow"));
        let loss = self.policy.loss(&batch, draws)?;
        Ok(Loss {
            total: loss.total,
            figures: loss.figures,
        })
    }
}

/// Windows of a recording for a policy.
struct PolicyWindows {
    loader: Arc<WindowLoader>,
    inputs: PolicyInputs,
    processors: Processors,
    /// The policy's, which a resumed run must have too.
    settings: serde_json::Value,
    device: Device,
}

impl BatchSource for PolicyWindows {
    type Batch = PolicyBatch;

    fn batch(&mut self, step: u64) -> Result<PolicyBatch, BoxError> {
        let windows = self.loader.batch(step)?;
        Ok(self
            .processors
            .batch(&self.inputs, &windows, &self.device)?)
    }

    fn state(&self) -> serde_json::Value {
        state_of_source(&self.loader, &self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::{FeatureStatistics, Normalization};

    #[test]
    fn a_state_that_never_moved_is_nothing_to_a_policy() {
        let rows = [vec![0.25, -1.0], vec![0.25, 3.0]];
        let state = FeatureStatistics::of_rows(&rows, 2).unwrap();
        let mut known: Statistics = [(STATE.to_owned(), state.clone())].into();
        assert_eq!(hold_still(&mut known), [0]);
        let held = &known[STATE];
        for mode in [Normalization::MeanStd, Normalization::MinMax] {
            let mut values = [0.75, 3.0];
            held.normalize(mode, &mut values);
            assert!(values[0].abs() < 1e-5, "{values:?}");
            let mut expected = [0.25, 3.0];
            state.normalize(mode, &mut expected);
            assert_eq!(values[1], expected[1]);
        }
        // Datasets of older tools have no quantiles.
        let short = FeatureStatistics {
            q01: Vec::new(),
            q99: Vec::new(),
            ..state.clone()
        };
        let mut known: Statistics = [(STATE.to_owned(), short)].into();
        assert_eq!(hold_still(&mut known), [0]);
        let moving: Statistics = [(ACTION.to_owned(), state)].into();
        let mut same = moving.clone();
        assert!(hold_still(&mut same).is_empty());
        assert_eq!(same, moving);
    }
}
