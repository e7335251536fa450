//! How noise comes to actions in training and goes from them when acting.
//!
//! DDPM ([Ho et al.](https://arxiv.org/abs/2006.11239)) and DDIM ([Song et al.](https://arxiv.org/abs/2010.02502)) as diffusers 0.39 has
//! them with its defaults (`src/diffusers/schedulers/scheduling_{ddpm,ddim}.py`): steps evenly spaced from 0, the small fixed variance,
//! DDIM without noise of its own. Factors are computed in single precision in the same order as there: near both ends of the steps
//! they are small differences, of which rounding is a visible part.

use armilla_nn::guidance::Guidance;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// More steps than anyone takes; settings come from files that anyone can have written.
const MOST_STEPS: usize = 1 << 16;
/// No step adds more noise than this.
const LARGEST_BETA: f64 = 0.999;
/// The variance of a step's noise is no less.
const SMALLEST_VARIANCE: f32 = 1e-20;

/// How steps lead from noise to actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// With noise in each step.
    #[default]
    Ddpm,
    /// Without; the same in fewer steps.
    Ddim,
}

/// How much noise each training step adds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Betas {
    /// What is left of the actions falls as a squared cosine.
    SquaredCosine,
    /// Variances in even steps between these.
    Linear {
        /// Of the first step.
        start: f64,
        /// Of the last.
        end: f64,
    },
}

/// What the network predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    #[default]
    Noise,
    /// The actions.
    Actions,
}

/// Settings of a [`Scheduler`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerConfig {
    /// How actions are sampled.
    pub sampler: Sampler,
    /// Steps from actions to noise in training.
    pub training_steps: usize,
    /// Steps from noise to actions; as many as in training if not given.
    pub sampling_steps: Option<usize>,
    /// How much noise each adds.
    pub betas: Betas,
    /// What is predicted.
    pub prediction: Prediction,
    /// If given, predicted actions are kept between minus this and this.
    pub clip: Option<f64>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self::nano()
    }
}

impl SchedulerConfig {
    /// As published.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            sampler: Sampler::Ddpm,
            training_steps: 100,
            sampling_steps: None,
            betas: Betas::SquaredCosine,
            prediction: Prediction::Noise,
            clip: Some(1.0),
        }
    }

    /// For acting on two cores.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            sampler: Sampler::Ddim,
            sampling_steps: Some(10),
            prediction: Prediction::Actions,
            ..Self::paper()
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let (training, sampling) = (self.training_steps, self.sampling_steps.unwrap_or(1));
        for (key, most, found) in [
            ("scheduler.training_steps", MOST_STEPS, training),
            ("scheduler.sampling_steps", training, sampling),
        ] {
            if !(1..=most).contains(&found) {
                return Err(Error::config(key, format!("1 to {most}"), found));
            }
        }
        if let Betas::Linear { start, end } = self.betas {
            let between = 0.0 < start && start <= end && end < 1.0;
            if !between {
                let found = format!("{start} to {end}");
                let expected = "a start above 0 and an end below 1";
                return Err(Error::config("scheduler.betas", expected, found));
            }
        }
        if let Some(clip) = self.clip.filter(|clip| !(*clip > 0.0 && clip.is_finite())) {
            return Err(Error::config("scheduler.clip", "above 0", clip));
        }
        Ok(())
    }
}

/// Noise onto actions and off them again.
#[derive(Clone, Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    /// Share of the actions' variance that is left after each training step.
    kept: Vec<f32>,
}

impl Scheduler {
    /// By settings that are valid.
    #[must_use]
    pub fn new(config: &SchedulerConfig) -> Self {
        let mut product = 1.0;
        let betas = betas(config.betas, config.training_steps).into_iter();
        let kept = betas.map(|beta| {
            product *= f64::from(1.0 - beta);
            product as f32
        });
        Self {
            kept: kept.collect(),
            config: config.clone(),
        }
    }

    /// The steps that lead from noise to actions, the noisiest first.
    #[must_use]
    pub fn steps(&self) -> Vec<usize> {
        let training = self.config.training_steps;
        let count = self.config.sampling_steps.unwrap_or(training);
        let apart = training / count;
        (0..count).rev().map(|step| step * apart).collect()
    }

    /// Actions with the noise of one training step each.
    ///
    /// # Shapes
    ///
    /// - actions, noise and output: `[batch, action_horizon, action]`
    /// - steps: `[batch]`
    #[must_use]
    pub fn add_noise(&self, actions: Tensor<3>, noise: Tensor<3>, steps: &[usize]) -> Tensor<3> {
        let device = actions.device();
        let factors = |of: fn(f32) -> f32| {
            let values: Vec<f32> = steps.iter().map(|&step| of(self.kept[step])).collect();
            Tensor::<3>::from_data(TensorData::new(values, [steps.len(), 1, 1]), &device)
        };
        actions * factors(f32::sqrt) + noise * factors(|kept| (1.0 - kept).sqrt())
    }

    /// What the network is to predict.
    #[must_use]
    pub fn target(&self, actions: Tensor<3>, noise: Tensor<3>) -> Tensor<3> {
        match self.config.prediction {
            Prediction::Noise => noise,
            Prediction::Actions => actions,
        }
    }

    /// Whether a step adds noise.
    #[must_use]
    pub fn is_noisy(&self, step: usize) -> bool {
        self.config.sampler == Sampler::Ddpm && step > 0
    }

    /// The actions behind a sample, as the network has it.
    fn actions(&self, sample: Tensor<3>, prediction: Tensor<3>, step: usize) -> Tensor<3> {
        let kept = self.kept[step];
        match self.config.prediction {
            Prediction::Noise => (sample - prediction * (1.0 - kept).sqrt()) / kept.sqrt(),
            Prediction::Actions => prediction,
        }
    }

    /// The prediction that names the actions of `predict`, drawn towards what is known.
    ///
    /// # Shapes
    ///
    /// - sample, what `predict` gets and gives, and output: `[batch, action_horizon, action]`
    #[must_use]
    pub fn guided(
        &self,
        guidance: &Guidance,
        sample: Tensor<3>,
        step: usize,
        predict: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let [signal, noise] = [self.kept[step], 1.0 - self.kept[step]].map(f32::sqrt);
        let shares = [signal, noise].map(f64::from);
        let mut free = None;
        let drawn = guidance.clean(sample.clone(), shares, |sample| {
            let prediction = predict(sample.clone());
            let actions = self.clipped(self.actions(sample, prediction.clone(), step));
            free = Some((prediction.inner(), actions.clone().inner()));
            actions
        });
        let Some((prediction, actions)) = free else {
            return drawn;
        };
        let drawn = self.clipped(drawn);
        // What was not drawn keeps its prediction, which names actions out of bounds where they were clipped.
        let still = drawn.clone().equal(actions);
        let named = match self.config.prediction {
            Prediction::Noise => (sample - drawn * signal) / noise,
            Prediction::Actions => drawn,
        };
        named.mask_where(still, prediction)
    }

    fn clipped(&self, actions: Tensor<3>) -> Tensor<3> {
        match self.config.clip {
            Some(clip) => actions.clamp(-clip, clip),
            None => actions,
        }
    }

    /// Takes the noise of one of [`Self::steps`] off a sample, and adds standard normal `noise` where [`Self::is_noisy`].
    ///
    /// # Shapes
    ///
    /// - sample, prediction and output: `[batch, action_horizon, action]`
    #[must_use]
    pub fn denoise(
        &self,
        sample: Tensor<3>,
        prediction: Tensor<3>,
        step: usize,
        noise: Option<Tensor<3>>,
    ) -> Tensor<3> {
        let training = self.config.training_steps;
        let apart = training / self.config.sampling_steps.unwrap_or(training);
        let kept = self.kept[step];
        let kept_next = match step.checked_sub(apart) {
            Some(next) => self.kept[next],
            None => 1.0,
        };
        let (lost, lost_next) = (1.0 - kept, 1.0 - kept_next);
        let actions = self.actions(sample.clone(), prediction.clone(), step);
        let clipped = self.clipped(actions);
        match self.config.sampler {
            Sampler::Ddpm => {
                let kept_here = kept / kept_next;
                let lost_here = 1.0 - kept_here;
                let mean = clipped * (kept_next.sqrt() * lost_here / lost)
                    + sample * (kept_here.sqrt() * lost_next / lost);
                let variance = (lost_next / lost * lost_here).max(SMALLEST_VARIANCE);
                match noise {
                    Some(noise) => mean + noise * variance.sqrt(),
                    None => mean,
                }
            }
            Sampler::Ddim => {
                // Of the predicted actions before they were clipped.
                let noise = match self.config.prediction {
                    Prediction::Noise => prediction,
                    Prediction::Actions => (sample - prediction * kept.sqrt()) / lost.sqrt(),
                };
                clipped * kept_next.sqrt() + noise * lost_next.sqrt()
            }
        }
    }
}

/// Variance of the noise that each step adds.
fn betas(betas: Betas, steps: usize) -> Vec<f32> {
    match betas {
        Betas::SquaredCosine => {
            let left = |step: usize| {
                let share = step as f64 / steps as f64;
                let angle = (share + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2;
                angle.cos().powi(2)
            };
            (0..steps)
                .map(|step| (1.0 - left(step + 1) / left(step)).min(LARGEST_BETA) as f32)
                .collect()
        }
        Betas::Linear { start, end } => {
            // From both ends towards the middle, as PyTorch does.
            let (start, end) = (start as f32, end as f32);
            let apart = (end - start) / (steps.max(2) - 1) as f32;
            let beta = |step: usize| {
                if step < steps.div_ceil(2) {
                    start + apart * step as f32
                } else {
                    end - apart * (steps - 1 - step) as f32
                }
            };
            (0..steps).map(beta).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tolerance};

    const LINEAR: Betas = Betas::Linear {
        start: 1e-4,
        end: 0.02,
    };

    #[test]
    fn what_is_kept_is_diffusers() {
        let cosine = [0.999_368_7, 0.998_252_5, 0.493_843_5, 2.428_540_7e-7];
        let linear = [0.999_9, 0.999_599_04, 0.777_180_1, 0.363_563_24];
        for (betas, expected) in [(Betas::SquaredCosine, cosine), (LINEAR, linear)] {
            let config = SchedulerConfig {
                betas,
                ..SchedulerConfig::paper()
            };
            let kept = Scheduler::new(&config).kept;
            for (step, expected) in [0, 1, 49, 99].into_iter().zip(expected) {
                let found: f32 = kept[step];
                let apart = (found - expected).abs() / expected;
                assert!(apart < 2e-7, "{betas:?}, {step}: {found} {expected}");
            }
        }
    }

    #[test]
    fn steps_begin_at_zero_and_lie_evenly_apart() {
        let mut config = SchedulerConfig::paper();
        assert_eq!(Scheduler::new(&config).steps()[..2], [99, 98]);
        config.sampling_steps = Some(7);
        let expected = [84, 70, 56, 42, 28, 14, 0];
        assert_eq!(Scheduler::new(&config).steps(), expected);
    }

    /// Where one step leads, from each of steps 90, 50 and 0 of ten.
    fn check(sampler: Sampler, prediction: Prediction, expected: [[f32; 2]; 3]) {
        let device = Device::flex();
        let row = |values: [f32; 2]| Tensor::<3>::from_floats([[values]], &device);
        let scheduler = Scheduler::new(&SchedulerConfig {
            sampler,
            sampling_steps: Some(10),
            prediction,
            clip: Some(0.8),
            ..SchedulerConfig::paper()
        });
        for (step, expected) in [90, 50, 0].into_iter().zip(expected) {
            let noisy = sampler == Sampler::Ddpm && step > 0;
            assert_eq!(scheduler.is_noisy(step), noisy, "{step}");
            let noise = noisy.then(|| row([0.25, -1.0]));
            let (sample, prediction) = (row([0.7, 0.2]), row([0.5, -0.3]));
            let found = scheduler.denoise(sample, prediction, step, noise);
            let expected = TensorData::from([[expected]]);
            let close = Tolerance::absolute(1e-6);
            found.into_data().assert_approx_eq::<f32>(&expected, close);
        }
    }

    #[test]
    fn denoised_samples_are_diffusers() {
        let (ddpm, ddim) = (Sampler::Ddpm, Sampler::Ddim);
        let last = [0.687_654_6, 0.207_603_1];
        let expected = [[0.708_343_9, -0.575_035_7], [0.714_484_7, -0.067_967_8]];
        check(ddpm, Prediction::Noise, [expected[0], expected[1], last]);
        let expected = [[0.711_678_5, -0.053_505_4], [0.692_776, 0.297_340_4]];
        check(ddim, Prediction::Noise, [expected[0], expected[1], last]);
        let last = [0.5, -0.3];
        let expected = [[0.639_553_7, -0.827_266_5], [0.718_215, -0.403_478_7]];
        check(ddpm, Prediction::Actions, [expected[0], expected[1], last]);
        let expected = [[0.754_553_8, 0.146_166_7], [0.694_932_5, 0.103_379]];
        check(ddim, Prediction::Actions, [expected[0], expected[1], last]);
    }

    #[test]
    fn noise_is_added_by_step() {
        let device = Device::flex();
        let scheduler = Scheduler::new(&SchedulerConfig {
            betas: LINEAR,
            ..SchedulerConfig::paper()
        });
        let ones = Tensor::<3>::ones([2, 1, 1], &device);
        let found = scheduler.add_noise(ones.clone(), ones * 2.0, &[0, 99]);
        let expected =
            [0.999_9f32, 0.363_563_24].map(|kept| [[kept.sqrt() + 2.0 * (1.0 - kept).sqrt()]]);
        let close = Tolerance::absolute(1e-5);
        found
            .into_data()
            .assert_approx_eq::<f32>(&expected.into(), close);
    }

    #[test]
    fn a_guided_prediction_names_the_actions_drawn_though_they_were_out_of_bounds() {
        let device = Device::flex();
        let row = |values: [f32; 2]| Tensor::<3>::from_floats([[values]], &device);
        for prediction in [Prediction::Noise, Prediction::Actions] {
            let scheduler = Scheduler::new(&SchedulerConfig {
                prediction,
                clip: Some(0.8),
                ..SchedulerConfig::paper()
            });
            let guidance = Guidance {
                known: row([0.0, 0.7]),
                weight: Tensor::ones([1, 1], &device),
            };
            // The second value follows the sample's first too, so that the first is drawn with it.
            let predict = |sample: Tensor<3>| {
                let [first, second] = [0, 1].map(|value| sample.clone().narrow(2, value, 1));
                let values = match prediction {
                    Prediction::Noise => vec![first.clone() * 0.0, first * 0.5],
                    Prediction::Actions => vec![first.clone(), second - first * 0.25],
                };
                Tensor::cat(values, 2)
            };
            let (sample, step) = (row([1.2, 0.2]), 50);
            let named =
                |prediction| scheduler.clipped(scheduler.actions(sample.clone(), prediction, step));
            let free = named(predict(sample.clone()));
            let found = named(scheduler.guided(&guidance, sample.clone(), step, predict));
            let [free, found] =
                [free, found].map(|values| values.into_data().iter::<f32>().collect::<Vec<_>>());
            assert!(
                free[0] > 0.79 && found[0] < 0.7,
                "{prediction:?}: {free:?} {found:?}"
            );
            assert!(found[1] > free[1], "{prediction:?}: {free:?} {found:?}");
        }
    }
}
