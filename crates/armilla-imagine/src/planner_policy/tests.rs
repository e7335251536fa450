//! What a planner carries out of its plans.

mod sights;

use super::*;
use armilla_core::{Feature, Features, Goal};
use armilla_world::encoder::{ConvolutionsConfig, EncoderConfig};
use armilla_world::{
    ActionScale, Coordinates, Interface, JepaConfig, Method, Model, Objective, StateScale,
};

fn config(history: usize) -> JepaConfig {
    JepaConfig {
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
    }
}

/// A small model of 3 environment steps a model step.
fn model(history: usize) -> WorldModel {
    model_of(&config(history), StateScale::default())
}

fn model_of(config: &JepaConfig, states: StateScale) -> WorldModel {
    let model = Model::Jepa(config.init(0, &Device::flex()).unwrap());
    let actions = ActionScale {
        mean: vec![0.5, 0.0],
        std: vec![2.0, 0.5],
        low: vec![-3.0, -1.0],
        high: vec![3.0, 1.0],
    };
    let names = ["top", "wrist"].map(str::to_owned);
    let interface = Interface {
        cameras: names[..config.cameras].to_vec(),
        actions,
        states,
        rate_hz: Some(10.0),
    };
    WorldModel::new(&model, interface).unwrap()
}

fn spec() -> EnvironmentSpec {
    EnvironmentSpec {
        name: "points".to_owned(),
        protocol: "any".to_owned(),
        features: Features::robot(
            ("top", Feature::camera(16, 16)),
            Feature::vector(&["x", "y"]),
            Feature::vector(&["dx", "dy"]),
        ),
        rate_hz: 10.0,
        max_steps: 100,
        action_low: vec![-3.0, -1.0],
        action_high: vec![3.0, 1.0],
    }
}

fn policy(history: usize, plan: PlanConfig) -> Result<PlannerPolicy> {
    PlannerPolicy::new(model(history), plan, &spec())
}

#[test]
fn actions_of_other_units_are_refused() {
    let spec = EnvironmentSpec {
        action_low: vec![0.0; 2],
        action_high: vec![512.0; 2],
        ..spec()
    };
    let error = PlannerPolicy::new(model(1), plan(), &spec).err().unwrap();
    let said = error.to_string();
    assert!(said.contains("from -3 to 3, found 0 to 512"), "{said}");
}

#[test]
fn a_value_that_never_moved_stays_where_it_was() {
    let recorded = model(1);
    let mut interface = recorded.interface().clone();
    let ActionScale {
        mean,
        std,
        low,
        high,
    } = &mut interface.actions;
    (mean[1], std[1], low[1], high[1]) = (0.25, 0.0, 0.25, 0.25);
    let still = WorldModel::new(recorded.model(), interface).unwrap();
    for coordinates in [Coordinates::Bounds, Coordinates::Standard] {
        let config = PlanConfig {
            coordinates,
            ..plan()
        };
        let mut policy = PlannerPolicy::new(still.clone(), config, &spec()).unwrap();
        for Action(values) in act(&mut policy, 0) {
            assert!(values[0].is_finite(), "{values:?}");
            assert_eq!(values[1], 0.25, "{coordinates:?}");
        }
        let made = &policy.plans()[&0][&0];
        let predicted = made.latents.iter().chain(&made.step_costs);
        assert!(predicted.chain([&made.cost]).all(|value| value.is_finite()));
    }
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
    // Another one at each step.
    let picture = |level: u64| Image::filled(16, 16, [(13 * level) as u8, 90, 9]);
    let observation = Observation {
        images: [("top".to_owned(), picture(step + 3 * episode))].into(),
        goal: Some(Goal::picture("top", picture(18))),
        ..Observation::default()
    };
    PolicyRequest {
        episode,
        step,
        observation,
        ..PolicyRequest::default()
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
fn who_asks_early_is_answered_with_whole_plans() {
    let config = PlanConfig {
        receding_horizon: 1,
        ..plan()
    };
    let mut policy = policy(1, config).unwrap().with_whole_chunks();
    policy.reset(0).unwrap();
    assert_eq!(act(&mut policy, 0).len(), 3 * 4);
    // What was carried out of it may be more than a model step.
    let left = &policy.problems(&[request(0, 6)]).unwrap()[0].warm_start;
    assert_eq!(left[..], policy.plans()[&0][&0].actions[2..]);
}

/// A question that tells of the steps before, and of so many that are coming.
fn later(episode: EpisodeId, step: u64, coming: usize) -> PolicyRequest {
    let action = |step: u64| Action(vec![step as f32 / 9.0, -0.5]);
    let first = step.saturating_sub(8);
    PolicyRequest {
        earlier: (first..step)
            .map(|step| request(episode, step).observation)
            .collect(),
        done: (first..step).map(action).collect(),
        coming: (step..step + coming as u64).map(action).collect(),
        ..request(episode, step)
    }
}

/// Whether all pairs are nearly equal; what is no number is not.
fn are_close<'a>(mut pairs: impl Iterator<Item = (&'a f32, &'a f32)>) -> bool {
    pairs.all(|(one, other)| (one - other).abs() < 1e-5)
}

#[test]
fn a_search_looks_back_on_what_was_seen_and_done() {
    let mut policy = policy(3, plan()).unwrap();
    assert!(policy.wants_actions());
    assert_eq!(policy.history(), 7);
    policy.reset(0).unwrap();
    let asked = later(0, 9, 0);
    let problem = policy
        .problems(std::slice::from_ref(&asked))
        .unwrap()
        .remove(0);
    let seen = [3, 6, 9].map(|step| request(0, step).observation.images["top"].clone());
    let expected = policy
        .model()
        .encode(&seen.each_ref().map(Frame::from))
        .unwrap();
    assert_eq!(problem.context.len(), 3 * 12);
    let apart = problem.context.iter().zip(expected.iter().flatten());
    assert!(are_close(apart));
    let done = asked.done[2..].iter().flat_map(|action| &action.0);
    assert_eq!(problem.past.len(), 2);
    assert!(problem.past.iter().flatten().eq(done));
    // Who plans from it is not who plans from the newest frame alone.
    let without = policy.problems(&[request(0, 9)]).unwrap().remove(0);
    assert_eq!((without.context.len(), without.past.len()), (12, 0));
}

#[test]
fn a_plan_may_look_back_on_less_than_its_model() {
    let plan = PlanConfig {
        history: 1,
        ..plan()
    };
    let policy = policy(3, plan).unwrap();
    assert_eq!(policy.history(), 1);
    let problem = policy.problems(&[later(0, 9, 0)]).unwrap().remove(0);
    assert_eq!((problem.context.len(), problem.past.len()), (12, 0));
}

#[test]
fn a_plan_that_begins_later_begins_from_what_is_predicted() {
    for (history, views) in [(1, 1), (3, 1), (1, 2)] {
        let mut config = config(history);
        config.symmetries = views > 1;
        let settings = PlanConfig { views, ..plan() };
        let model = model_of(&config, StateScale::default());
        let mut policy = PlannerPolicy::new(model, settings, &spec()).unwrap();
        policy.reset(0).unwrap();
        let problem = policy.problems(&[later(0, 9, 4)]).unwrap().remove(0);
        // It begins at step 13: a model step and a rest, which is left out.
        let seen: Vec<_> = [3, 6, 9][3 - history..]
            .iter()
            .map(|&step| request(0, step).observation.images["top"].clone())
            .collect();
        let frames: Vec<_> = seen.iter().map(Frame::from).collect();
        let mut expected = policy.model().encode_views(&frames, views).unwrap();
        let block = |first: u64| -> Vec<f32> {
            let steps = (first..first + 3).flat_map(|step| [step as f32 / 9.0, -0.5]);
            steps.collect()
        };
        let mut blocks: Vec<_> = [3, 6, 9][3 - history..]
            .iter()
            .map(|&at| block(at))
            .collect();
        let lead = blocks.pop().unwrap();
        let next = policy.model().after(views, &expected, &blocks, &lead);
        expected.push(next.unwrap());
        blocks.push(lead);
        let apart = problem.context.iter().zip(expected[1..].iter().flatten());
        assert_eq!(problem.context.len(), history * views * 12);
        assert!(are_close(apart));
        assert_eq!(problem.past, blocks[1..]);
        policy.act(&[later(0, 9, 4)]).unwrap();
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
        let of = [
            later(3, step + 1, 0),
            later(0, step, 5),
            later(8, step + 4, 4),
        ];
        let chunks = beside.act(&of).unwrap();
        let alone = alone.act(&of[1..2]).unwrap().remove(0);
        assert_eq!(chunks[1].actions, alone.actions, "{step}");
        // It begins when what is coming is done.
        assert!((chunks[1].starts_at_secs - 0.5).abs() < 1e-9);
    }
}

#[test]
fn two_requests_of_a_new_episode_move_no_goal_of_another() {
    let [mut alone, mut beside] = [(); 2].map(|()| policy(1, plan()).unwrap());
    let requests = [request(1, 0), request(1, 3), request(2, 0)];
    let chunks = beside.act(&requests).unwrap();
    for index in [0, 2] {
        let chunk = alone.act(&requests[index..=index]).unwrap().remove(0);
        assert_eq!(chunks[index].actions, chunk.actions, "{index}");
    }
}

#[test]
fn the_episode_asked_for_longest_ago_is_forgotten() {
    let mut policy = policy(1, plan()).unwrap();
    let more = EPISODES as u64;
    for episode in (0..more).rev() {
        policy.reset(episode).unwrap();
    }
    policy.act(&[request(more - 1, 0)]).unwrap();
    policy.reset(more).unwrap();
    let kept = |policy: &PlannerPolicy, episode: EpisodeId| policy.episodes.contains_key(&episode);
    assert_eq!(policy.episodes.len(), EPISODES);
    assert!(kept(&policy, more - 1) && kept(&policy, 0) && !kept(&policy, more - 2));
    // Who never begins an episode makes no more of them.
    policy.act(&[request(more + 1, 0)]).unwrap();
    assert_eq!(policy.episodes.len(), EPISODES);
    assert!(kept(&policy, more + 1) && !kept(&policy, more - 3));
}

#[test]
fn an_episode_without_end_keeps_its_last_plans() {
    let mut policy = policy(1, plan()).unwrap();
    policy.act(&[request(0, 0)]).unwrap();
    let made = policy.plans()[&0][&0].clone();
    let problem = policy.problems(&[request(0, 1)]).unwrap().remove(0);
    for step in 1..=KEPT_PLANS as u64 {
        policy.remember(&request(0, step), problem.clone(), &made);
    }
    let kept = &policy.plans()[&0];
    assert_eq!(kept.len(), KEPT_PLANS);
    assert!(!kept.contains_key(&0) && kept.contains_key(&(KEPT_PLANS as u64)));
}

/// A small model that takes two values of proprioception.
fn feeling() -> PlannerPolicy {
    let mut config = JepaConfig {
        state: 2,
        ..config(1)
    };
    config.loss.distance_weight = 0.0;
    let states = StateScale {
        mean: vec![0.5, -3.0],
        std: vec![2.0, 0.5],
    };
    let plan = PlanConfig {
        objective: Objective::Latent,
        ..plan()
    };
    PlannerPolicy::new(model_of(&config, states), plan, &spec()).unwrap()
}

#[test]
fn a_plan_that_costs_no_number_is_not_carried_out() {
    let mut policy = feeling();
    let mut asked = request(5, 6);
    asked.observation.state = vec![f32::NAN, 0.0];
    asked.observation.goal.as_mut().unwrap().state = vec![0.5, -1.0];
    let error = policy.act(&[asked]).unwrap_err().to_string();
    let expected = "cost of the plan of episode 5 at step 6: expected a finite number, found NaN";
    assert_eq!(error, expected);
}

#[test]
fn a_search_that_fails_changes_nothing() {
    let [mut alone, mut beside] = [(); 2].map(|()| feeling());
    let asked = |episode, step, state: f32| {
        let mut asked = request(episode, step);
        asked.observation.state = vec![state, 0.0];
        asked.observation.goal.as_mut().unwrap().state = vec![0.5, -1.0];
        asked
    };
    for policy in [&mut alone, &mut beside] {
        policy.act(&[asked(0, 0, 0.5)]).unwrap();
    }
    beside
        .act(&[asked(0, 3, 1.0), asked(1, 0, f32::NAN)])
        .unwrap_err();
    assert!(!beside.plans()[&0].contains_key(&3));
    let mut wrong = asked(2, 0, 0.5);
    wrong.observation.goal.as_mut().unwrap().state = vec![f32::NAN; 2];
    beside.act(&[wrong]).unwrap_err();
    // The next questions are answered as if these had not been: with the same warm start, and to a goal that is a number.
    for next in [asked(0, 6, 1.0), asked(2, 0, 0.5)] {
        let found = beside.act(std::slice::from_ref(&next)).unwrap();
        assert_eq!(found[0].actions, alone.act(&[next]).unwrap()[0].actions);
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

#[test]
fn an_environment_that_the_model_cannot_look_at_is_refused() {
    let refused = |change: &dyn Fn(&mut EnvironmentSpec)| {
        let mut spec = spec();
        change(&mut spec);
        let error = PlannerPolicy::new(model(1), plan(), &spec).err().unwrap();
        error.to_string()
    };
    let camera = |name, side| {
        let vector = || Feature::vector(&["x", "y"]);
        Features::robot((name, Feature::camera(side, side)), vector(), vector())
    };
    let side = refused(&|spec| spec.features = camera("top", 64));
    let wanted = "camera `top` of environment points: expected 16 x 16";
    assert!(side.contains(wanted), "{side}");
    let front = refused(&|spec| spec.features = camera("front", 16));
    assert!(
        front.contains("expected `top`") && front.contains("found front"),
        "{front}"
    );
    let slow = refused(&|spec| spec.rate_hz = 5.0);
    assert!(slow.contains("expected 10 Hz"), "{slow}");
}
