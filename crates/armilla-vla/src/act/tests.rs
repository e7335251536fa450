use super::*;
use crate::lerobot::Camera;
use crate::test_support::Descent;
use armilla_core::random::stream;
use armilla_nn::random::normal;

fn inputs() -> PolicyInputs {
    PolicyInputs {
        cameras: vec![Camera {
            key: "observation.images.top".to_owned(),
            height: 32,
            width: 32,
        }],
        state: Some(2),
        environment_state: None,
        action: 2,
        vocabulary: None,
    }
}

/// Draws of a step.
fn draws(step: u64) -> Draws<'static> {
    Draws::from_stream(stream(0, "loss", step))
}

fn batch(horizon: usize, device: &Device) -> PolicyBatch {
    let draw = |name, shape| normal(&mut stream(0, name, 0), shape, device);
    PolicyBatch {
        observations: PolicyObservations {
            images: vec![normal(
                &mut stream(0, "images", 0),
                [2, 1, 32, 32, 3],
                device,
            )],
            state: Some(draw("state", [2, 1, 2])),
            ..PolicyObservations::default()
        },
        actions: draw("actions", [2, horizon, 2]),
        weight: Tensor::ones([2, horizon], device),
    }
}

#[test]
fn one_batch_can_be_learnt() {
    let device = Device::flex().autodiff();
    let config = ActConfig {
        action_horizon: 4,
        receding_horizon: 4,
        dropout: 0.0,
        ..ActConfig::nano()
    };
    let mut model = Act::init(&config, &inputs(), 0, &device).unwrap();
    let batch = batch(4, &device);
    let error = |model: &Act| {
        let actions = model
            .sample_actions(&batch.observations, &mut draws(0))
            .unwrap();
        mean((actions - batch.actions.clone()).abs()).into_scalar::<f32>()
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
fn dropout_is_drawn_from_the_stream_and_off_when_acting() {
    let device = Device::flex().autodiff();
    // Without a style, so that nothing else is drawn.
    let config = ActConfig {
        dropout: 0.3,
        variational: false,
        ..ActConfig::nano()
    };
    let model = Act::init(&config, &inputs(), 0, &device).unwrap();
    let mut whole = model.clone();
    whole.config.dropout = 0.0;
    let batch = batch(16, &device);
    let loss = |model: &Act, step| {
        let loss = model.loss(&batch, &mut draws(step)).unwrap();
        loss.total.into_scalar::<f32>()
    };
    assert_eq!(loss(&model, 0), loss(&model, 0));
    assert_ne!(loss(&model, 0), loss(&model, 1));
    assert_eq!(loss(&whole, 0), loss(&whole, 1));
    let act = |model: &Act| {
        let actions = model.sample_actions(&batch.observations, &mut draws(0));
        actions.unwrap().into_data()
    };
    assert_eq!(act(&model), act(&whole));
}

#[test]
fn what_is_not_seen_is_named() {
    let device = Device::flex();
    let model = Act::init(&ActConfig::nano(), &inputs(), 0, &device).unwrap();
    let mut seen = batch(16, &device).observations;
    seen.state = None;
    let error = model.sample_actions(&seen, &mut draws(0)).unwrap_err();
    assert!(error.to_string().contains("observation.state"), "{error}");
    seen.images.clear();
    let error = model.sample_actions(&seen, &mut draws(0)).unwrap_err();
    assert!(error.to_string().contains("observation"), "{error}");
}

#[test]
fn every_wrong_setting_names_its_key() {
    type Change = fn(&mut ActConfig);
    let wrong: [(&str, Change); 7] = [
        ("activation", |c| {
            c.activation = armilla_nn::Activation::Silu;
        }),
        ("style", |c| c.style = 0),
        ("width", |c| c.width = 130),
        ("receding_horizon", |c| c.receding_horizon = 17),
        ("receding_horizon", |c| c.ensemble = Some(0.01)),
        ("dropout", |c| c.dropout = 1.0),
        ("divergence_weight", |c| c.divergence_weight = f64::NAN),
    ];
    for (key, change) in wrong {
        let mut config = ActConfig::nano();
        change(&mut config);
        let error = Act::init(&config, &inputs(), 0, &Device::flex()).unwrap_err();
        assert!(error.to_string().contains(key), "{key}: {error}");
    }
    let nothing = PolicyInputs {
        cameras: Vec::new(),
        ..inputs()
    };
    let error = ActConfig::nano().validate(&nothing).unwrap_err();
    assert!(error.to_string().contains("a camera or"), "{error}");
    ActConfig::paper().validate(&inputs()).unwrap();
}
