use super::*;
use crate::test_support::Descent;
use armilla_core::{
    CameraWindows, EnvironmentSpec, Feature, Features, Goal, Image, Observation, Policy as _,
    PolicyRequest, WindowBatch,
};

const SIDE: usize = 16;

fn config() -> GoalPolicyConfig {
    GoalPolicyConfig {
        channels: vec![8, 8],
        hidden: 32,
        depth: 2,
        action_horizon: 2,
        receding_horizon: 2,
        ..GoalPolicyConfig::default()
    }
}

fn shape() -> GoalShape {
    GoalShape {
        camera: "top".to_owned(),
        side: SIDE,
        action_mean: vec![1.0, 0.0],
        action_std: vec![2.0, 0.5],
        action_min: vec![-1.0, -1.0],
        action_max: vec![1.0, 1.0],
        fps: Some(10.0),
    }
}

/// Windows whose goal is brighter to one side, which is where the action goes.
fn windows() -> WindowBatch {
    let picture = |level: usize| {
        let pixels = (0..SIDE * SIDE * 3).map(move |at| ((at * 7 + level * 50) % 251) as u8);
        pixels.collect::<Vec<_>>()
    };
    WindowBatch {
        batch: 4,
        time: 1,
        action_horizon: 2,
        cameras: vec![CameraWindows {
            height: SIDE,
            width: SIDE,
            images: (0..4).flat_map(|_| picture(0)).collect(),
            later_images: (1..5).flat_map(picture).collect(),
            ..CameraWindows::default()
        }],
        actions: (0..16).map(|at| f64::from(at / 4) as f32 - 1.0).collect(),
        action_is_pad: vec![false, false, false, true, false, false, false, false],
        later_steps: vec![9, 9, 1, 9],
        ..WindowBatch::default()
    }
}

#[test]
fn actions_past_the_goal_or_the_end_do_not_count() {
    let batch = GoalBatch::from_windows(&windows(), &config(), &shape(), &Device::flex());
    let batch = batch.unwrap();
    assert_eq!(batch.pictures.dims(), [4, SIDE, SIDE, 6]);
    let weight: Vec<f32> = batch.weight.into_data().iter().collect();
    assert_eq!(weight, [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0]);
    let actions: Vec<f32> = batch.actions.into_data().iter().collect();
    assert_eq!(actions[..2], [-1.0, -2.0], "normalised");
    let mut cut = windows();
    cut.later_steps.clear();
    let found = GoalBatch::from_windows(&cut, &config(), &shape(), &Device::flex());
    let error = found.unwrap_err().to_string();
    assert!(
        error.contains("window later_steps: expected 4 values"),
        "{error}"
    );
}

#[test]
fn one_batch_can_be_learnt_and_a_checkpoint_comes_back_whole() {
    let device = Device::flex().autodiff();
    let mut model = config().init(&shape(), 0, &device).unwrap();
    let batch = GoalBatch::from_windows(&windows(), &config(), &shape(), &device).unwrap();
    let value = |model: &GoalPolicy| model.loss(batch.clone()).into_scalar::<f32>();
    let first = value(&model);
    for _ in 0..150 {
        let gradients = model.loss(batch.clone()).backward();
        let rate = 1e-3;
        model = model.map(&mut Descent { gradients, rate });
    }
    let last = value(&model);
    assert!(last < 0.1 * first, "{first} then {last}");

    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    assert!(GoalPolicy::is_in(folder.path()));
    let loaded = GoalPolicy::load(folder.path(), &Device::flex()).unwrap();
    let pictures = batch.pictures.inner();
    let (one, two) = (
        model.valid().forward(pictures.clone()),
        loaded.forward(pictures),
    );
    assert_eq!(one.into_data(), two.into_data());
}

#[test]
fn chunks_lie_within_bounds_and_wrong_pictures_are_named() {
    let model = config().init(&shape(), 0, &Device::flex()).unwrap();
    let spec = |high: Vec<f32>| EnvironmentSpec {
        name: "points".to_owned(),
        protocol: "any".to_owned(),
        features: Features::robot(
            ("top", Feature::camera(SIDE, SIDE)),
            Feature::vector(&["x", "y"]),
            Feature::vector(&["dx", "dy"]),
        ),
        rate_hz: 10.0,
        max_steps: 100,
        action_low: high.iter().map(|high| -high).collect(),
        action_high: high,
    };
    let mut policy = GoalCloning::new(model.clone(), &spec(vec![0.1; 2])).unwrap();
    let request = |side: usize| PolicyRequest {
        observation: Observation {
            images: [("top".to_owned(), Image::filled(SIDE, SIDE, [9; 3]))].into(),
            goal: Some(Goal::picture("top", Image::filled(side, SIDE, [200; 3]))),
            ..Observation::default()
        },
        ..PolicyRequest::default()
    };
    let chunk = policy.act(&[request(SIDE)]).unwrap().remove(0);
    assert_eq!(chunk.actions.len(), 2);
    let values = chunk.actions.iter().flat_map(|action| &action.0);
    assert!(values.clone().all(|value| value.abs() <= 0.1));
    let error = policy.act(&[request(8)]).unwrap_err().to_string();
    assert_eq!(error, "goal picture: expected 16 x 16, found 8 x 16");
    for high in [vec![1.0; 3], vec![512.0; 2]] {
        assert!(GoalCloning::new(model.clone(), &spec(high)).is_err());
    }
    let fast = EnvironmentSpec {
        rate_hz: 50.0,
        ..spec(vec![1.0; 2])
    };
    assert!(GoalCloning::new(model.clone(), &fast).is_err());
    let blind = EnvironmentSpec {
        features: Features::default(),
        ..spec(vec![1.0; 2])
    };
    assert!(GoalCloning::new(model, &blind).is_err());
}

#[test]
fn every_wrong_setting_names_its_key() {
    type Change = fn(&mut GoalPolicyConfig);
    let wrong: [(&str, Change); 4] = [
        ("hidden", |c| c.hidden = 0),
        ("receding_horizon", |c| c.receding_horizon = 3),
        ("channels", |c| c.channels = vec![8; 5]),
        ("goal_last_share", |c| c.goal_last_share = 2.0),
    ];
    for (key, change) in wrong {
        let mut config = config();
        change(&mut config);
        let error = config.init(&shape(), 0, &Device::flex()).unwrap_err();
        assert!(error.to_string().contains(key), "{key}: {error}");
    }
}
