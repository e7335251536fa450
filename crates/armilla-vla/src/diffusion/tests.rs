use super::*;
use crate::lerobot::Camera;
use crate::test_support::Descent;
use armilla_core::random::stream;
use armilla_nn::guidance::Guidance;
use armilla_nn::random::normal;

fn camera(key: &str, side: usize) -> Camera {
    Camera {
        key: format!("observation.images.{key}"),
        height: side,
        width: side,
    }
}

fn inputs() -> PolicyInputs {
    PolicyInputs {
        cameras: vec![camera("top", 40)],
        state: Some(2),
        environment_state: None,
        action: 2,
        vocabulary: None,
    }
}

/// Draws of a step.
fn draws(step: u64) -> Draws<'static> {
    Draws::from_stream(stream(0, "noise", step))
}

/// Settings whose U-Net computes in milliseconds.
fn small() -> DiffusionConfig {
    let mut config = DiffusionConfig {
        history: 2,
        action_horizon: 8,
        receding_horizon: 4,
        crop: Some([32, 32]),
        widths: vec![16, 32],
        step_width: 16,
        ..DiffusionConfig::nano()
    };
    config.scheduler.prediction = Prediction::Noise;
    config
}

fn batch(horizon: usize, device: &Device) -> PolicyBatch {
    let draw = |name, shape| normal(&mut stream(0, name, 0), shape, device);
    let pictures = [2, 2, 40, 40, 3];
    PolicyBatch {
        observations: PolicyObservations {
            images: vec![normal(&mut stream(0, "images", 0), pictures, device)],
            state: Some(draw("state", [2, 2, 2])),
            ..PolicyObservations::default()
        },
        actions: draw("actions", [2, horizon, 2]).clamp(-0.9, 0.9),
        weight: Tensor::ones([2, horizon], device),
    }
}

#[test]
fn one_batch_can_be_learnt() {
    let device = Device::flex().autodiff();
    let mut config = small();
    config.random_crop = false;
    config.scheduler.prediction = Prediction::Actions;
    let mut model = Diffusion::init(&config, &inputs(), 0, &device).unwrap();
    let batch = batch(8, &device);
    let error = |model: &Diffusion| {
        let actions = model
            .sample_actions(&batch.observations, &mut draws(0))
            .unwrap();
        let done = batch.actions.clone().narrow(1, config.history - 1, 7);
        mean((actions - done).abs()).into_scalar::<f32>()
    };
    let first = error(&model);
    for step in 0..60 {
        let loss = model.loss(&batch, &mut draws(step)).unwrap();
        let gradients = loss.total.backward();
        let rate = if step < 40 { 1e-3 } else { 2e-4 };
        model = model.map(&mut Descent { gradients, rate });
    }
    let last = error(&model);
    assert!(last < 0.2 * first, "{first} then {last}");
}

#[test]
fn what_is_known_draws_its_own_step() {
    let device = Device::flex();
    for prediction in [Prediction::Noise, Prediction::Actions] {
        let mut config = small();
        config.scheduler.prediction = prediction;
        let model = Diffusion::init(&config, &inputs(), 0, &device).unwrap();
        let mut seen = batch(8, &device).observations;
        let sample = |seen: &PolicyObservations| {
            model
                .sample_actions(seen, &mut draws(0))
                .unwrap()
                .narrow(0, 0, 1)
        };
        let free = sample(&seen);
        // Of the steps from now on, which is the second of those that are sampled, the second alone.
        let known = -free.clone().narrow(1, 0, 2).expand([2, 2, 2]);
        let mut guided = |weight: [f32; 2]| {
            let weight = Tensor::<1>::from_floats(weight, &device).unsqueeze::<2>();
            seen.guidance = Some(Guidance {
                known: known.clone(),
                weight: weight.expand([2, 2]),
            });
            let moved = (sample(&seen) - free.clone()).abs().mean_dim(2);
            moved.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        let still = guided([0.0, 0.0]);
        assert!(still.iter().all(|moved| *moved < 1e-4), "{still:?}");
        let moved = guided([0.0, 1.0]);
        // A network that names actions, untrained as it is, says nothing of which of them a sample moves.
        let others = match prediction {
            Prediction::Noise => [moved[0], moved[2], moved[3]],
            Prediction::Actions => [1e-3; 3],
        };
        let own_most = others.iter().all(|other| *other < moved[1]);
        assert!(own_most, "{prediction:?}: {moved:?}");
    }
}

#[test]
fn all_noise_comes_from_the_stream() {
    let device = Device::flex();
    let model = Diffusion::init(&small(), &inputs(), 0, &device).unwrap();
    let batch = batch(8, &device);
    let loss = |step| {
        let loss = model.loss(&batch, &mut draws(step)).unwrap();
        loss.total.into_scalar::<f32>()
    };
    assert_eq!(loss(0), loss(0));
    assert_ne!(loss(0), loss(1));
    let act = |step| {
        let actions = model
            .sample_actions(&batch.observations, &mut draws(step))
            .unwrap();
        assert_eq!(actions.dims(), [2, 7, 2], "all from now on");
        actions.into_data()
    };
    assert_eq!(act(0), act(0));
    assert_ne!(act(0), act(1));
}

#[test]
fn crops_lie_anywhere_in_training() {
    let device = Device::flex();
    let config = DiffusionConfig {
        separate_encoders: true,
        ..small()
    };
    let inputs = PolicyInputs {
        cameras: vec![camera("top", 40), camera("arm", 40)],
        ..inputs()
    };
    let model = Diffusion::init(&config, &inputs, 0, &device).unwrap();
    let corners: Vec<_> = (0..200)
        .flat_map(|step| model.corners(&mut draws(step)).unwrap())
        .collect();
    assert!(corners.iter().all(|corners| corners.len() == 2));
    let mut rows: Vec<usize> = corners.iter().flatten().map(|[row, _]| *row).collect();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows, (0..=8).collect::<Vec<_>>());
}

#[test]
fn what_is_not_seen_is_named() {
    let device = Device::flex();
    let model = Diffusion::init(&small(), &inputs(), 0, &device).unwrap();
    let mut seen = batch(8, &device).observations;
    seen.images.clear();
    let error = model.sample_actions(&seen, &mut draws(0)).unwrap_err();
    assert!(error.to_string().contains("observation.images"), "{error}");
    seen.state = None;
    let error = model.sample_actions(&seen, &mut draws(0)).unwrap_err();
    assert!(error.to_string().contains("observation.state"), "{error}");
}

#[test]
fn padding_is_masked_where_it_is_wanted() {
    let device = Device::flex();
    let losses = [false, true].map(|mask_padding| {
        let config = DiffusionConfig {
            mask_padding,
            ..small()
        };
        let model = Diffusion::init(&config, &inputs(), 0, &device).unwrap();
        let loss = |weight| {
            let mut batch = batch(8, &device);
            batch.weight = batch.weight.slice_fill([0..1, 4..8], weight);
            let loss = model.loss(&batch, &mut draws(0)).unwrap();
            loss.total.into_scalar::<f32>()
        };
        [loss(1.0), loss(0.0)]
    });
    let [[whole, also_whole], [all, masked]] = losses;
    assert_eq!(whole, also_whole);
    assert!((whole - all).abs() < 1e-6 && (whole - masked).abs() > 1e-4);
}

#[test]
fn every_wrong_setting_names_its_key() {
    type Change = fn(&mut DiffusionConfig);
    let wrong: [(&str, Change); 14] = [
        ("history", |c| c.history = 0),
        ("action_horizon", |c| c.action_horizon = 10),
        ("action_horizon", |c| c.widths = Vec::new()),
        ("receding_horizon", |c| c.receding_horizon = 17),
        ("widths", |c| c.widths[1] = 100),
        ("widths", |c| (c.groups, c.widths[0]) = (2, 12)),
        ("taps", |c| c.taps = 4),
        ("step_width", |c| c.step_width = 2),
        ("crop_ratio", |c| c.crop_ratio = 1.5),
        ("crop", |c| c.crop = Some([41, 32])),
        ("crop", |c| {
            (c.resize, c.crop) = (Some([32; 2]), Some([8; 2]))
        }),
        ("scheduler.sampling_steps", |c| {
            c.scheduler.sampling_steps = Some(101);
        }),
        ("scheduler.betas", |c| {
            c.scheduler.betas = Betas::Linear {
                start: 0.1,
                end: 1.0,
            };
        }),
        ("scheduler.clip", |c| c.scheduler.clip = Some(0.0)),
    ];
    for (key, change) in wrong {
        let mut config = DiffusionConfig::nano();
        change(&mut config);
        let error = Diffusion::init(&config, &inputs(), 0, &Device::flex()).unwrap_err();
        assert!(error.to_string().contains(key), "{key}: {error}");
    }
    type ChangeInputs = fn(&mut PolicyInputs);
    let wrong: [(&str, ChangeInputs); 3] = [
        ("a camera or", |inputs| inputs.cameras.clear()),
        ("observation.state", |inputs| inputs.state = None),
        ("images.arm", |inputs| {
            inputs.cameras.push(camera("arm", 36));
        }),
    ];
    for (key, change) in wrong {
        let mut inputs = inputs();
        change(&mut inputs);
        let error = DiffusionConfig::nano().validate(&inputs).unwrap_err();
        assert!(error.to_string().contains(key), "{key}: {error}");
    }
    let mut pictures = inputs();
    pictures.cameras[0] = camera("top", 96);
    DiffusionConfig::paper().validate(&pictures).unwrap();
}
