//! A trained policy of any kind behind [`Policy`]: observations in, chunks of actions out.

use std::fmt::Write as _;

use armilla_core::features::{ACTION, IMAGE_PREFIX, STATE, camera_key};
use armilla_core::random::stream;
use armilla_core::{
    Action, ActionChunk, EnvironmentSpec, EpisodeId, Features, Observation, Policy, PolicyRequest,
};
use burn::tensor::Device;

use crate::error::Result;
use crate::lerobot::checkpoint::TRAIN_CONFIG;
use crate::lerobot::{Draws, Horizons, PolicyInputs, Processors, TrainedPolicy};

/// Drives an environment with a trained policy.
///
/// It keeps nothing of an episode: what is drawn is keyed by seed, episode and step, so that the same episode gets the same
/// actions whichever others are asked for with it. A chunk holds the first `receding_horizon` of the predicted actions, clamped to
/// the environment's bounds.
pub struct CheckpointPolicy {
    trained: Box<dyn TrainedPolicy>,
    device: Device,
    low: Vec<f32>,
    high: Vec<f32>,
    period_secs: f64,
    seed: u64,
    /// Actions of a chunk, at most.
    horizon: usize,
}

impl CheckpointPolicy {
    /// Puts a trained policy, which computes on `device`, before an environment.
    ///
    /// # Errors
    ///
    /// When the environment's cameras, state, action, its units or rate are not those that the policy was trained on: both are listed side by side.
    pub fn new(
        trained: Box<dyn TrainedPolicy>,
        spec: &EnvironmentSpec,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let (inputs, processors) = (trained.inputs(), trained.processors());
        check_environment(inputs, processors, trained.rate_hz(), spec)?;
        Ok(Self {
            low: spec.action_low.clone(),
            high: spec.action_high.clone(),
            period_secs: 1.0 / spec.rate_hz,
            horizon: trained.horizons().receding,
            trained,
            device: device.clone(),
            seed,
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

    /// How far the policy looks.
    #[must_use]
    pub fn horizons(&self) -> Horizons {
        self.trained.horizons()
    }

    fn chunks(&self, requests: &[PolicyRequest]) -> Result<Vec<ActionChunk>> {
        let trained = &self.trained;
        let (inputs, processors) = (trained.inputs(), trained.processors());
        let history = self.history();
        let histories: Vec<Vec<&Observation>> = requests
            .iter()
            .map(|request| padded(request, history))
            .collect();
        let mut observations = processors.observations(inputs, &histories, &self.device)?;
        self.check_leftovers(requests)?;
        let leftovers: Vec<_> = requests.iter().map(|each| each.leftover.as_ref()).collect();
        let ahead = trained.horizons().action + 1 - history;
        observations.guidance = processors.guidance(inputs, &leftovers, ahead, &self.device)?;
        let streams = requests.iter().map(|request| {
            let name = format!("vla-noise-{}", request.episode);
            stream(self.seed, &name, request.step)
        });
        let mut draws = Draws::from_streams(streams.collect());
        let sampled = trained.sample_actions(&observations, &mut draws)?;
        let chunks = requests.iter().zip(processors.actions(sampled)?);
        let chunks = chunks.map(|(request, mut actions)| {
            actions.truncate(self.horizon);
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

    /// Refuses to continue chunks where the policy cannot.
    fn check_leftovers(&self, requests: &[PolicyRequest]) -> Result<()> {
        let asked = requests.iter().any(|request| request.leftover.is_some());
        if !asked || self.continues() {
            return Ok(());
        }
        let expected = "a policy that samples its actions";
        let kind = self.trained.kind();
        Err(armilla_core::Error::invalid("who continues a chunk", expected, kind).into())
    }

    fn clamp(&self, action: &mut Action) {
        let bounds = self.low.iter().zip(&self.high);
        for (value, (&low, &high)) in action.0.iter_mut().zip(bounds) {
            *value = value.clamp(low, high);
        }
    }
}

impl Policy for CheckpointPolicy {
    fn name(&self) -> &str {
        self.trained.kind()
    }

    fn history(&self) -> usize {
        self.trained.horizons().history
    }

    fn continues(&self) -> bool {
        self.trained.continues()
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

/// The newest observations, so many; the oldest stands for those before an episode's beginning.
fn padded(request: &PolicyRequest, history: usize) -> Vec<&Observation> {
    let all: Vec<_> = request
        .earlier
        .iter()
        .chain([&request.observation])
        .collect();
    let missing = history.saturating_sub(all.len());
    let newest = &all[all.len().saturating_sub(history)..];
    let before = std::iter::repeat_n(all[0], missing);
    before.chain(newest.iter().copied()).collect()
}

/// Whether a policy, or one that is yet to be trained, can act in an environment. `rate_hz` is that of its recordings, where it is known.
///
/// # Errors
///
/// When the environment's cameras, state, action, its units or rate are others: both are listed side by side.
pub fn check_environment(
    inputs: &PolicyInputs,
    processors: &Processors,
    rate_hz: Option<f64>,
    spec: &EnvironmentSpec,
) -> Result<()> {
    fits(inputs, processors, &spec.features)?;
    spec.check_rate(rate_hz, TRAIN_CONFIG)?;
    spec.check_bounds()?;
    let (expected, found) = (inputs.action, spec.action_low.len());
    if expected != found {
        let what = "the environment's action_low";
        let expected = format!("{expected} values");
        return Err(armilla_core::Error::invalid(what, expected, found).into());
    }
    if let Some([low, high]) = processors.after.extremes(ACTION) {
        spec.check_units(&low, &high)?;
    }
    Ok(())
}

/// Lists what a policy takes beside what there is, where they differ.
fn fits(inputs: &PolicyInputs, processors: &Processors, features: &Features) -> Result<()> {
    let mut wanted: Vec<(String, Vec<usize>)> = Vec::new();
    for camera in &inputs.cameras {
        let name = processors.camera_name(camera);
        wanted.push((camera_key(name), vec![camera.height, camera.width, 3]));
    }
    let widths = [(STATE, inputs.state), (ACTION, Some(inputs.action))];
    let widths = widths
        .into_iter()
        .filter_map(|(key, width)| Some((key, width?)));
    wanted.extend(widths.map(|(key, width)| (key.to_owned(), vec![width])));
    let shape = |key: &str| features.0.get(key).map(|feature| &feature.shape);
    if wanted
        .iter()
        .all(|(key, expected)| shape(key) == Some(expected))
    {
        return Ok(());
    }
    let (mut expected, mut found) = (String::new(), String::new());
    for (key, shape) in &wanted {
        write!(expected, "{key} {shape:?}, ").ok();
    }
    for (key, feature) in &features.0 {
        write!(found, "{key} {:?}, ", feature.shape).ok();
    }
    let what = "the environment's features, against what the policy was trained on";
    let [expected, mut found] =
        [expected, found].map(|list| list.trim_end_matches(", ").to_owned());
    if let Some(renames) = renames(inputs, &wanted, features) {
        let file = "rename_map of policy_preprocessor.json";
        write!(
            found,
            "; if they show the same, it fits with {renames} in {file}"
        )
        .ok();
    }
    Err(armilla_core::Error::invalid(what, expected, found).into())
}

/// Renames that give the policy every camera it lacks, if all else fits: for each the one of the environment's of the same size that is
/// not taken.
fn renames(
    inputs: &PolicyInputs,
    wanted: &[(String, Vec<usize>)],
    features: &Features,
) -> Option<String> {
    let shape = |key: &str| features.0.get(key).map(|feature| &feature.shape);
    let mut taken: Vec<&str> = wanted.iter().map(|(key, _)| key.as_str()).collect();
    let mut renames = Vec::new();
    for (index, (key, expected)) in wanted.iter().enumerate() {
        match (shape(key), inputs.cameras.get(index)) {
            (Some(found), _) if found == expected => {}
            (None, Some(camera)) => {
                let mut free = features.0.iter().filter(|(key, feature)| {
                    let is_camera = key.starts_with(IMAGE_PREFIX) && feature.shape == *expected;
                    is_camera && !taken.contains(&key.as_str())
                });
                let (Some((name, _)), None) = (free.next(), free.next()) else {
                    return None;
                };
                taken.push(name);
                renames.push(format!("\"{name}\": \"{}\"", camera.key));
            }
            _ => return None,
        }
    }
    (!renames.is_empty()).then(|| renames.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowPolicy;
    use crate::lerobot::Checkpoint;
    use crate::lerobot::checkpoint::RATE;
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
            ..PolicyRequest::default()
        }
    }

    #[test]
    fn a_history_is_as_long_as_it_should_be() {
        let mut asked = request(1, 1, "touch");
        asked.observation.state = vec![2.0];
        asked.earlier = vec![observation("touch")];
        asked.earlier[0].state = vec![1.0];
        let states = |history| {
            let found = padded(&asked, history);
            found
                .iter()
                .map(|observation| observation.state[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(states(1), [2.0]);
        assert_eq!(states(2), [1.0, 2.0]);
        assert_eq!(
            states(4),
            [1.0, 1.0, 1.0, 2.0],
            "the first stands for those before it"
        );
    }

    fn new(
        trained: Checkpoint<FlowPolicy>,
        spec: &EnvironmentSpec,
        seed: u64,
    ) -> Result<CheckpointPolicy> {
        CheckpointPolicy::new(Box::new(trained), spec, seed, &Device::flex())
    }

    fn policy(high: f32) -> CheckpointPolicy {
        new(trained(&Device::flex()), &spec(&["x", "y"], high), 7).unwrap()
    }

    #[test]
    fn a_chunk_is_what_is_carried_out() {
        let chunks = policy(0.1)
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
                .all(|action| action.0.iter().all(|value| value.abs() <= 0.1))
        );
        assert!(policy(1.0).act(&[]).unwrap().is_empty());
        let mut whole = policy(1.0).with_whole_chunks();
        let chunks = whole.act(&[request(1, 0, "touch")]).unwrap();
        assert_eq!(chunks[0].action_horizon(), 4);
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
        let error = new(trained(&Device::flex()), &spec(&["x"], 1.0), 0)
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .contains("observation.state [2], action [2], found")
                && error.to_string().contains("observation.state [1]"),
            "{error}"
        );
        let mut other = spec(&["x", "y"], 1.0);
        let camera = other.features.0.remove("observation.images.top").unwrap();
        other
            .features
            .0
            .insert("observation.images.front".to_owned(), camera.clone());
        let refused = |spec: &EnvironmentSpec| {
            new(trained(&Device::flex()), spec, 0)
                .err()
                .unwrap()
                .to_string()
        };
        let rename = r#"fits with "observation.images.front": "observation.images.top" in"#;
        assert!(refused(&other).contains(rename), "{}", refused(&other));
        other
            .features
            .0
            .insert("observation.images.side".to_owned(), camera);
        assert!(
            !refused(&other).contains("rename_map"),
            "which of two is not known"
        );
        let places = refused(&spec(&["x", "y"], 512.0));
        let units =
            "expected the units of the recordings, which reach from -1 to 1, found -512 to 512";
        assert!(places.contains(units), "{places}");
        let mut timed = trained(&Device::flex());
        timed.train_config = Some(serde_json::json!({ RATE: 30 }));
        let error = new(timed, &spec(&["x", "y"], 1.0), 0).err().unwrap();
        let error = error.to_string();
        assert!(
            error.contains("expected 30 Hz") && error.contains("train_config.json"),
            "{error}"
        );
        let mut wrong = request(1, 0, "touch");
        wrong.observation.state[1] = f32::NAN;
        assert!(policy(1.0).act(&[wrong]).is_err());
    }

    #[test]
    fn a_model_that_gives_no_number_is_an_error() {
        use burn::module::{Module as _, ModuleMapper, Param};
        use burn::tensor::Tensor;
        struct Broken;
        impl ModuleMapper for Broken {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                param.map(|value| value * f32::NAN)
            }
        }
        let mut broken = trained(&Device::flex());
        broken.model = broken.model.map(&mut Broken);
        let mut policy = new(broken, &spec(&["x", "y"], 1.0), 0).unwrap();
        let error = policy
            .act(&[request(1, 0, "touch")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("not a finite number"), "{error}");
    }
}
