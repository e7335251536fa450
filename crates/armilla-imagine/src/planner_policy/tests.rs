//! What a planner carries out of its plans.

use super::*;
use armilla_core::Features;
use armilla_world::encoder::{ConvolutionsConfig, EncoderConfig};
use armilla_world::{ActionScale, Coordinates, Interface, JepaConfig, Method, Model, StateScale};

/// A small model of 3 environment steps a model step.
fn model(history: usize) -> WorldModel {
    let config = JepaConfig {
        image_size: 16,
        encoder: EncoderConfig::Convolutions(ConvolutionsConfig {
            patch: 1,
            channels: vec![4, 4],
        }),
        decoder_channels: vec![4, 4],
        latent: 12,
        embedding: 4,
        history,
        action_repeat: 3,
        ..JepaConfig::nano()
    };
    let model = Model::Jepa(config.init(0, &Device::flex()).unwrap());
    let actions = ActionScale {
        mean: vec![0.5, 0.0],
        std: vec![2.0, 0.5],
        low: vec![-3.0, -1.0],
        high: vec![3.0, 1.0],
    };
    let camera = "top".to_owned();
    let interface = Interface {
        cameras: vec![camera],
        actions,
        states: StateScale::default(),
    };
    WorldModel::new(&model, interface).unwrap()
}

fn policy(history: usize, plan: PlanConfig) -> Result<PlannerPolicy> {
    let spec = EnvironmentSpec {
        name: "points".to_owned(),
        protocol: "any".to_owned(),
        features: Features::default(),
        rate_hz: 10.0,
        max_steps: 100,
        action_low: vec![-3.0, -1.0],
        action_high: vec![3.0, 1.0],
    };
    PlannerPolicy::new(model(history), plan, &spec)
}

#[test]
fn actions_of_other_units_are_refused() {
    let spec = EnvironmentSpec {
        name: "places".to_owned(),
        protocol: "any".to_owned(),
        features: Features::default(),
        rate_hz: 10.0,
        max_steps: 100,
        action_low: vec![0.0; 2],
        action_high: vec![512.0; 2],
    };
    let error = PlannerPolicy::new(model(1), plan(), &spec).err().unwrap();
    let said = error.to_string();
    assert!(said.contains("from -3 to 3, found 0 to 512"), "{said}");
}

fn plan() -> PlanConfig {
    PlanConfig {
        horizon: 4,
        num_samples: 16,
        num_elites: 4,
        keep_elites: 2,
        iterations: 2,
        ..PlanConfig::default()
    }
}

fn request(episode: EpisodeId, step: u64) -> PolicyRequest {
    let picture = |level: u64| Image::filled(16, 16, [(40 * level) as u8, 90, 9]);
    let observation = Observation {
        images: [("top".to_owned(), picture(step / 3 + episode))].into(),
        goal: Some(picture(6)),
        ..Observation::default()
    };
    PolicyRequest {
        episode,
        step,
        observation,
        earlier: Vec::new(),
        leftover: None,
    }
}

/// The actions of one answer.
fn act(policy: &mut PlannerPolicy, step: u64) -> Vec<Action> {
    policy.act(&[request(0, step)]).unwrap().remove(0).actions
}

#[test]
fn a_chunk_holds_as_many_model_steps_as_are_carried_out() {
    for (receding_horizon, hold) in [(1, true), (3, true), (1, false), (3, false)] {
        let config = PlanConfig {
            receding_horizon,
            hold,
            ..plan()
        };
        let mut policy = policy(1, config).unwrap();
        policy.reset(0).unwrap();
        let actions = act(&mut policy, 0);
        assert_eq!(actions.len(), 3 * receding_horizon);
        assert_eq!(actions[0] == actions[1], hold);
        let made = &policy.plans()[&0][&0];
        assert_eq!(made.actions.len(), if hold { 4 } else { 12 });
        let expected = made.environment_actions(3).take(actions.len());
        assert!(actions.iter().map(|action| &action.0).eq(expected));
    }
}

#[test]
fn the_past_between_two_frames_is_what_was_predicted() {
    let config = PlanConfig {
        receding_horizon: 2,
        ..plan()
    };
    let mut policy = policy(3, config).unwrap();
    policy.reset(0).unwrap();
    act(&mut policy, 0);
    act(&mut policy, 6);
    let first = &policy.plans()[&0][&0];
    let seen = |step| request(0, step).observation.images["top"].clone();
    let frames = [seen(0), seen(6)];
    let seen = policy.model().encode(&[&frames[0], &frames[1]]).unwrap();
    let expected = [&seen[0], &first.latents[..12].to_vec(), &seen[1]];
    for (found, expected) in policy.episodes[&0].latents.iter().zip(expected) {
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5);
    }
}

#[test]
fn an_episode_does_not_depend_on_what_is_asked_beside_it() {
    let config = PlanConfig {
        method: Method::Mppi,
        coordinates: Coordinates::Standard,
        receding_horizon: 2,
        ..plan()
    };
    let [mut alone, mut beside] = [(); 2].map(|()| policy(2, config.clone()).unwrap());
    for step in [0, 6, 12] {
        let requests = [request(3, step), request(0, step), request(8, step)];
        let chunks = beside.act(&requests).unwrap();
        assert_eq!(chunks[1].actions, act(&mut alone, step));
    }
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let config = PlanConfig {
        receding_horizon: 5,
        ..plan()
    };
    let error = policy(1, config).err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "receding_horizon: expected 1 to 4, found 5");
}

/// A goal that is what is seen has its latent: both go through the same camera, units and running statistics.
#[test]
fn a_goal_is_encoded_as_an_observation_is() {
    let mut policy = policy(1, plan()).unwrap();
    policy.reset(0).unwrap();
    let mut asked = request(0, 0);
    asked.observation.goal = asked.observation.images.get("top").cloned();
    let problems = policy.problems(&[asked]).unwrap();
    assert_eq!(problems[0].context, problems[0].goal);
}
