//! The trained model behind [`Policy`]: observations in, chunks of actions out.

use armilla_core::features::{ACTION, STATE};
use armilla_core::random::{normals, stream};
use armilla_core::{
    Action, ActionChunk, EnvironmentSpec, EpisodeId, Observation, Policy, PolicyRequest,
};
use burn::tensor::{Device, Tensor, TensorData};

use crate::checkpoint::TrainedPolicy;
use crate::error::Result;

/// Drives an environment with a trained policy.
///
/// It keeps nothing of an episode: the noise that actions are made from is keyed by seed, episode and step, so that the same
/// episode gets the same actions whichever others are asked for with it. A chunk holds the first `receding_horizon` of
/// the predicted actions, clamped to the environment's bounds.
pub struct VlaPolicy {
    trained: TrainedPolicy,
    device: Device,
    low: Vec<f32>,
    high: Vec<f32>,
    period_secs: f64,
    seed: u64,
}

impl VlaPolicy {
    /// Puts a trained policy, [`valid`](burn::module::Module::valid) for speed, before an environment.
    ///
    /// # Errors
    ///
    /// When the environment's camera, state or action are not those that the policy was trained on.
    pub fn new(trained: TrainedPolicy, spec: &EnvironmentSpec, seed: u64) -> Result<Self> {
        let shape = &trained.shape;
        let camera = spec
            .features
            .cameras()
            .next()
            .map(|(_, feature)| feature.shape.clone());
        let expected = vec![shape.height, shape.width, 3];
        if camera.as_ref() != Some(&expected) {
            return Err(mismatch(
                "observation.images",
                format!("{expected:?}"),
                format!("{camera:?}"),
            ));
        }
        for (key, expected) in [(STATE, shape.state), (ACTION, shape.action)] {
            let found = spec.features.width(key);
            if found != expected {
                return Err(mismatch(
                    key,
                    format!("{expected} values"),
                    found.to_string(),
                ));
            }
        }
        for (what, bounds) in [
            ("action_low", &spec.action_low),
            ("action_high", &spec.action_high),
        ] {
            if bounds.len() != shape.action {
                let expected = format!("{} values", shape.action);
                return Err(mismatch(what, expected, bounds.len().to_string()));
            }
        }
        Ok(Self {
            device: trained.model.device(),
            low: spec.action_low.clone(),
            high: spec.action_high.clone(),
            period_secs: 1.0 / spec.rate_hz,
            trained,
            seed,
        })
    }

    fn chunks(&self, requests: &[PolicyRequest]) -> Result<Vec<ActionChunk>> {
        let observations: Vec<&Observation> = requests
            .iter()
            .map(|request| &request.observation)
            .collect();
        let shape = &self.trained.shape;
        let size = [shape.height, shape.width];
        let batch = self
            .trained
            .processor
            .observations(&observations, size, &self.device)?;
        let sampled = self
            .trained
            .model
            .sample_actions(batch, self.noise(requests));
        let predicted = self.trained.processor.actions(sampled)?;
        let chunks = requests
            .iter()
            .zip(predicted)
            .map(|(request, mut actions)| {
                actions.truncate(self.trained.config.receding_horizon);
                for action in &mut actions {
                    self.clamp(action);
                }
                ActionChunk {
                    actions,
                    starts_at_secs: request.observation.captured_at_secs,
                    period_secs: self.period_secs,
                }
            });
        Ok(chunks.collect())
    }

    /// # Shapes
    ///
    /// - output: `[batch, action_horizon, action]`
    fn noise(&self, requests: &[PolicyRequest]) -> Tensor<3> {
        let [horizon, action] = [
            self.trained.config.action_horizon,
            self.trained.shape.action,
        ];
        let values: Vec<f32> = requests
            .iter()
            .flat_map(|request| {
                let name = format!("vla-noise-{}", request.episode);
                normals(
                    &mut stream(self.seed, &name, request.step),
                    horizon * action,
                )
            })
            .collect();
        Tensor::from_data(
            TensorData::new(values, [requests.len(), horizon, action]),
            &self.device,
        )
    }

    fn clamp(&self, action: &mut Action) {
        let bounds = self.low.iter().zip(&self.high);
        for (value, (&low, &high)) in action.0.iter_mut().zip(bounds) {
            *value = value.clamp(low, high);
        }
    }
}

impl Policy for VlaPolicy {
    fn name(&self) -> &str {
        "vla"
    }

    fn reset(&mut self, _episode: EpisodeId) -> armilla_core::Result<()> {
        Ok(())
    }

    fn act(&mut self, requests: &[PolicyRequest]) -> armilla_core::Result<Vec<ActionChunk>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        self.chunks(requests)
            .map_err(|error| armilla_core::Error::behind("the policy could not act", error))
    }
}

fn mismatch(what: &str, expected: String, found: String) -> crate::Error {
    let what = format!("the environment's {what}, against what the policy was trained on");
    armilla_core::Error::invalid(what, expected, found).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{SIDE, observation, trained};
    use armilla_core::{Feature, Features};

    fn spec(state: &[&str], high: f32) -> EnvironmentSpec {
        EnvironmentSpec {
            name: "test".to_owned(),
            protocol: "test".to_owned(),
            features: Features::robot(
                ("top", Feature::camera(SIDE, SIDE)),
                Feature::vector(state),
                Feature::vector(&["dx", "dy"]),
            ),
            rate_hz: 10.0,
            max_steps: 10,
            action_low: vec![-high; 2],
            action_high: vec![high; 2],
        }
    }

    fn request(episode: EpisodeId, step: u64, instruction: &str) -> PolicyRequest {
        let observation = observation(instruction);
        PolicyRequest {
            episode,
            step,
            observation,
        }
    }

    fn policy(high: f32) -> VlaPolicy {
        VlaPolicy::new(trained(&Device::flex()), &spec(&["x", "y"], high), 7).unwrap()
    }

    #[test]
    fn a_chunk_is_what_is_carried_out() {
        let chunks = policy(0.01)
            .act(&[request(1, 0, "touch the red circle")])
            .unwrap();
        assert_eq!(chunks[0].action_horizon(), 2);
        assert_eq!(
            (chunks[0].starts_at_secs, chunks[0].period_secs),
            (0.5, 0.1)
        );
        assert!(
            chunks[0]
                .actions
                .iter()
                .all(|action| action.0.iter().all(|value| value.abs() <= 0.01))
        );
        assert!(policy(1.0).act(&[]).unwrap().is_empty());
    }

    #[test]
    fn episode_and_step_alone_decide() {
        let mut policy = policy(5.0);
        policy.reset(1).unwrap();
        let [first, second] = [request(1, 0, "touch"), request(2, 4, "push the red circle")];
        let together = policy.act(&[first.clone(), second.clone()]).unwrap();
        let swapped = policy.act(&[second, first.clone()]).unwrap();
        let alone = policy.act(&[first]).unwrap();
        for (left, right) in [
            (&together[0], &swapped[1]),
            (&together[1], &swapped[0]),
            (&together[0], &alone[0]),
        ] {
            for (left, right) in left.actions.iter().zip(&right.actions) {
                assert!(
                    left.0
                        .iter()
                        .zip(&right.0)
                        .all(|(a, b)| (a - b).abs() < 1e-4),
                    "{left:?} {right:?}"
                );
            }
        }
        let later = policy.act(&[request(1, 1, "touch")]).unwrap();
        assert_ne!(later[0].actions, alone[0].actions);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = VlaPolicy::new(trained(&Device::flex()), &spec(&["x"], 1.0), 0)
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("observation.state")
                && error.to_string().contains("found 1"),
            "{error}"
        );
        let mut wrong = request(1, 0, "touch");
        wrong.observation.state[1] = f32::NAN;
        assert!(policy(1.0).act(&[wrong]).is_err());
    }

    #[test]
    fn a_model_that_gives_no_number_is_an_error() {
        use burn::module::{Module as _, ModuleMapper, Param};
        struct Broken;
        impl ModuleMapper for Broken {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                param.map(|value| value * f32::NAN)
            }
        }
        let mut broken = trained(&Device::flex());
        broken.model = broken.model.map(&mut Broken);
        let mut policy = VlaPolicy::new(broken, &spec(&["x", "y"], 1.0), 0).unwrap();
        let error = policy
            .act(&[request(1, 0, "touch")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("not a finite number"), "{error}");
    }
}
