use super::*;
use crate::jepa::config::JepaConfig;
use crate::jepa::tests::small_encoder;
use crate::plan_config::PlanConfig;

pub(crate) fn jepa_config(history: usize) -> JepaConfig {
    JepaConfig {
        image_size: 16,
        encoder: small_encoder(),
        decoder_channels: vec![8, 8],
        latent: 12,
        embedding: 4,
        sprites: 1,
        history,
        action_repeat: 3,
        symmetries: true,
        ..JepaConfig::nano()
    }
}

pub(crate) fn world_model(history: usize) -> WorldModel {
    world_model_of(&jepa_config(history))
}

pub(crate) fn world_model_of(config: &JepaConfig) -> WorldModel {
    let device = Device::flex();
    let model = Model::Jepa(config.init(0, &device).unwrap());
    let actions = ActionScale {
        mean: vec![1.0, 0.0],
        std: vec![2.0, 0.5],
        low: vec![-3.0, -1.0],
        high: vec![3.0, 1.0],
    };
    WorldModel::new(
        &model,
        Interface {
            cameras: vec!["top".to_owned()],
            actions,
            states: StateScale::default(),
            rate_hz: Some(10.0),
        },
    )
    .unwrap()
}

#[test]
fn what_comes_after_a_block_is_what_is_imagined() {
    let model = world_model(1);
    let pictures = [[9; 3], [200, 30, 70]].map(|color| Image::filled(16, 16, color));
    let action = vec![0.5, -0.2];
    let block = action.repeat(3);
    for views in [1, 2] {
        let frames = pictures.each_ref().map(Frame::from);
        let latents = model.encode_views(&frames[..1], views).unwrap();
        let found = model.after(views, &latents, &[], &block).unwrap();
        let expected = model.imagine(&latents[0][..12], std::slice::from_ref(&action));
        let apart = found.iter().zip(expected.unwrap());
        assert_eq!(found.len(), views * 12);
        assert!(
            apart
                .map(|(a, b)| (a - b).abs())
                .max_by(f32::total_cmp)
                .unwrap_or(0.0)
                < 1e-5
        );
    }
    // The latents before the last count.
    let model = world_model(2);
    let latents = model.encode(&pictures.each_ref().map(Frame::from)).unwrap();
    let found = model.after(1, &latents, std::slice::from_ref(&block), &block);
    let of_one = model.after(1, &latents[1..], &[], &block);
    assert_ne!(found.unwrap(), of_one.unwrap());
    for (latents, past, block, said) in [
        (&latents[..0], &[][..], &block[..], "latents: "),
        (
            &latents[..],
            &[],
            &block,
            "past blocks: expected 1, found 0",
        ),
        (
            &latents[1..],
            &[],
            &block[1..],
            "actions: expected 6 values",
        ),
    ] {
        let error = model.after(1, latents, past, block).unwrap_err();
        assert!(error.to_string().starts_with(said), "{error}");
    }
}

#[test]
fn every_camera_and_proprioception_go_into_a_latent() {
    let mut config = JepaConfig {
        cameras: 2,
        sprites: 0,
        state: 2,
        symmetries: false,
        ..jepa_config(1)
    };
    config.loss.distance_weight = 0.0;
    let jepa = Model::Jepa(config.init(0, &Device::flex()).unwrap());
    let interface = Interface {
        cameras: vec!["top".to_owned(), "wrist".to_owned()],
        states: StateScale {
            mean: vec![1.0, 0.0],
            std: vec![2.0, 0.5],
        },
        ..world_model(1).interface().clone()
    };
    let model = WorldModel::new(&jepa, interface).unwrap();
    let images = [10, 200].map(|level| Image::filled(16, 16, [level, 9, 90]));
    let frame = |cameras: [usize; 2], state: &'static [f32]| Frame {
        images: cameras.map(|camera| &images[camera]).to_vec(),
        state,
    };
    let frames = [
        frame([0, 0], &[1.0, 0.0]),
        frame([0, 1], &[1.0, 0.0]),
        frame([1, 0], &[1.0, 0.0]),
        frame([0, 0], &[1.0, 0.5]),
    ];
    let latents = model.encode(&frames).unwrap();
    for (index, latent) in latents.iter().enumerate() {
        let alone = model.encode(&frames[index..=index]).unwrap();
        let apart = alone[0].iter().zip(latent).map(|(a, b)| (a - b).abs());
        assert!(apart.max_by(f32::total_cmp).unwrap_or(0.0) < 1e-5);
        assert!(latents[..index].iter().all(|other| other != latent));
    }
    let refusal = |frame: Frame<'_>| model.encode(&[frame]).unwrap_err().to_string();
    let found = refusal((&images[0]).into());
    assert_eq!(found, "pictures of a frame: expected 2, found 1");
    let found = refusal(frame([0, 0], &[1.0]));
    assert_eq!(found, "values of proprioception: expected 2, found 1");
}

#[test]
fn pictures_become_latents_one_by_one() {
    let model = world_model(1);
    let images: Vec<_> = (0..70)
        .map(|level| Image::filled(16, 16, [level * 3, 0, 9]))
        .collect();
    let frames: Vec<_> = images.iter().map(Frame::from).collect();
    let latents = model.encode(&frames).unwrap();
    let alone = model.encode(&frames[66..67]).unwrap();
    assert_eq!((latents.len(), latents[0].len()), (70, 12));
    let furthest = latents[66]
        .iter()
        .zip(&alone[0])
        .map(|(a, b)| (a - b).abs())
        .max_by(f32::total_cmp)
        .unwrap_or(0.0);
    assert!(furthest < 1e-5, "{furthest}");
    assert_eq!(model.decode(&latents.concat()).unwrap().len(), 70);
    let error = model
        .encode(&[(&Image::filled(16, 8, [0; 3])).into()])
        .unwrap_err()
        .to_string();
    assert_eq!(error, "picture: expected 16 x 16, found 16 x 8");
    assert!(model.decode(&[0.0; 13]).is_err());
}

#[test]
fn actions_are_normalised_and_held() {
    let model = world_model(1);
    let device = Device::flex();
    let found = model.imagine(&[0.5; 12], &[vec![3.0, -0.5]]).unwrap();
    let block =
        Tensor::<1>::from_floats([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], &device).reshape([1, 6]);
    let context = Context::of_one(Tensor::full([1, 12], 0.5, &device));
    let expected = model.model().predict(&context, block);
    for (found, expected) in found.iter().zip(expected.into_data().iter::<f32>()) {
        assert!((found - expected).abs() < 1e-5);
    }
}

#[test]
fn a_plan_does_not_depend_on_its_neighbours() {
    let model = world_model(1);
    let config = PlanConfig {
        num_samples: 50,
        rows: 400,
        ..PlanConfig::default()
    };
    let actions = &model.interface().actions;
    let planner = Planner::new(config, &actions.low, &actions.high).unwrap();
    let problem = |episode: u64| Problem {
        episode,
        step: 5,
        context: vec![episode as f32 / 20.0; 12],
        goal: vec![0.3; 12],
        past: Vec::new(),
        warm_start: Vec::new(),
    };
    let problems: Vec<_> = (0..11).map(problem).collect();
    let together = model.plan(&planner, &problems).unwrap();
    for index in [0, 5, 10] {
        let alone = model.plan(&planner, &problems[index..=index]).unwrap();
        assert_eq!(alone[0].actions, together[index].actions);
    }
}

#[test]
fn plans_lie_within_the_bounds_and_tell_what_they_expect() {
    let model = world_model(2);
    let objectives = [
        (Objective::Latent, 0.0),
        (Objective::Distance, 0.0),
        (Objective::Latent, 2.0),
    ];
    for (objective, plane_weight) in objectives {
        let config = PlanConfig {
            objective,
            plane_weight,
            horizon: 3,
            num_samples: 32,
            num_elites: 8,
            ..PlanConfig::default()
        };
        let actions = &model.interface().actions;
        let planner = Planner::new(config, &actions.low, &actions.high).unwrap();
        let problem = problem();
        let plans = model
            .plan(&planner, std::slice::from_ref(&problem))
            .unwrap();
        let inside = |action: &Vec<f32>| action[0].abs() <= 3.0 && action[1].abs() <= 1.0;
        assert!(plans[0].actions.iter().all(inside));
        let imagined = model.imagine(&problem.context, &plans[0].actions).unwrap();
        let furthest = imagined
            .iter()
            .zip(&plans[0].latents)
            .map(|(a, b)| (a - b).abs())
            .max_by(f32::total_cmp)
            .unwrap_or(0.0);
        assert!(furthest < 1e-5, "{furthest}");
    }
}

/// From one latent of the small models to another.
fn problem() -> Problem {
    Problem {
        episode: 0,
        step: 0,
        context: vec![0.0; 12],
        goal: vec![0.3; 12],
        past: Vec::new(),
        warm_start: Vec::new(),
    }
}

#[test]
fn an_objective_that_the_model_does_not_know_is_refused() {
    // Nor what its latents have a place for and no loss has taught.
    for (embedding, sprites, plane_weight) in [(0, 0, 25.0), (4, 1, 0.0)] {
        let model = world_model_of(&JepaConfig {
            embedding,
            sprites,
            loss: crate::jepa::config::LossConfig {
                distance_weight: 0.0,
                plane_weight,
                ..Default::default()
            },
            ..jepa_config(1)
        });
        assert!(!model.shape().has_distance && !model.shape().has_plane);
        for (objective, plane_weight, expected) in [
            (Objective::Distance, 0.0, "without an embedding"),
            (Objective::Latent, 1.0, "without sprites or points"),
        ] {
            let config = PlanConfig {
                objective,
                plane_weight,
                ..PlanConfig::default()
            };
            let actions = &model.interface().actions;
            let planner = Planner::new(config, &actions.low, &actions.high).unwrap();
            let error = model.plan(&planner, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

#[test]
fn a_planner_for_actions_of_another_width_is_refused() {
    let model = world_model(1);
    let problem = problem();
    for width in [1, 3] {
        let planner = Planner::new(PlanConfig::default(), &vec![-1.0; width], &vec![1.0; width]);
        let found = model.plan(&planner.unwrap(), std::slice::from_ref(&problem));
        let error = found.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        let expected = format!("expected 2 values, as the model's actions have, found {width}");
        assert!(error.to_string().ends_with(&expected), "{error}");
    }
}

#[test]
fn an_action_value_that_never_moved_is_none_to_the_model() {
    let recorded = world_model(1);
    let mut interface = recorded.interface().clone();
    interface.actions.std[1] = 0.0;
    let model = WorldModel::new(recorded.model(), interface).unwrap();
    let imagine = |value| model.imagine(&[0.5; 12], &[vec![3.0, value]]).unwrap();
    let found = imagine(0.7);
    assert_eq!(found, imagine(0.0), "its mean");
    assert!(found.iter().all(|value| value.is_finite()));
}

#[test]
fn the_plane_counts_as_much_as_it_is_weighed() {
    let model = world_model(1);
    let cost = |weight, [free, pose]: [f32; 2]| {
        let mut latent = vec![free; 8];
        latent.extend([pose; 4]);
        let latents = Tensor::<1>::from_floats(latent.as_slice(), &Device::flex());
        let cost = PlaneCost {
            model: model.model(),
            objective: &ModelCost(model.model()),
            weight,
        };
        let goals = Tensor::zeros([1, 12], &Device::flex());
        let costs = cost.cost(latents.reshape([1, 1, 12]), goals);
        costs.into_scalar::<f32>()
    };
    // Of 12 values, the last 4 are a sprite's pose.
    assert_eq!(cost(0.0, [3.0, 2.0]), 9.0);
    assert_eq!(cost(2.0, [3.0, 2.0]), 9.0 + 8.0);
}
