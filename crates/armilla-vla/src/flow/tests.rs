use super::*;
use crate::test_support::{Descent, batch, inputs, observations, policy, small};
use armilla_core::random::stream;
use armilla_nn::random;
use burn::tensor::{TensorData, Tolerance};

fn sampled(instructions: &[&str]) -> TensorData {
    let device = Device::flex();
    let policy = policy(&device);
    let noise = random::normal(&mut stream(5, "noise", 0), [1, 4, 2], &device);
    let noise = noise.expand([instructions.len(), 4, 2]).into_data();
    let given = [("noise".to_owned(), noise)].into();
    let draws = &mut Draws::given(&given, stream(0, "act", 0));
    let seen = observations(instructions, &device);
    policy.sample_actions(&seen, draws).unwrap().into_data()
}

#[test]
fn shapes_follow_from_the_config() {
    let device = Device::flex();
    let policy = policy(&device);
    let seen = observations(&["push the red circle", "touch"], &device);
    let (context, _) = policy.encode(Seen::of(&seen).unwrap());
    let tokens = small().slots + 1 + 5; // slots, state, [BOS] and four words
    assert_eq!(context.tokens.dims(), [2, tokens, small().width]);
    assert_eq!(context.summary.dims(), [2, small().width]);
    assert_eq!(context.places.dims(), [2, small().slots, 2]);
    assert_eq!(sampled(&["", "touch"]).shape().to_vec(), [2, 4, 2]);
}

#[test]
fn what_is_not_seen_is_named() {
    let device = Device::flex();
    let draws = &mut Draws::from_stream(stream(0, "act", 0));
    let mut seen = observations(&["touch"], &device);
    seen.words = None;
    let error = policy(&device).sample_actions(&seen, draws).unwrap_err();
    assert!(error.to_string().contains("instructions"), "{error}");
    let mut blind = inputs();
    blind.cameras.clear();
    let error = small().validate(&blind).unwrap_err();
    assert!(error.to_string().contains("one camera"), "{error}");
}

#[test]
fn the_instruction_changes_the_actions() {
    let all = sampled(&["push the red circle", "touch the blue square", ""]);
    let rows: Vec<Vec<f32>> = all
        .try_to_vec::<f32>()
        .unwrap()
        .chunks(8)
        .map(<[f32]>::to_vec)
        .collect();
    assert!(rows[0] != rows[1] && rows[1] != rows[2] && rows[0] != rows[2]);
}

#[test]
fn company_does_not_change_the_actions() {
    let together = sampled(&["touch", "push the red circle to the blue square"]);
    let alone = sampled(&["touch"]).try_to_vec::<f32>().unwrap();
    let first = TensorData::new(together.try_to_vec::<f32>().unwrap()[..8].to_vec(), [8]);
    let alone = TensorData::new(alone, [8]);
    first.assert_approx_eq::<f32>(&alone, Tolerance::absolute(1e-4));
}

#[test]
fn what_is_known_moves_its_own_row_alone() {
    let device = Device::flex();
    let policy = policy(&device);
    let mut seen = observations(&["touch", "push the red circle"], &device);
    let sample = |seen: &PolicyObservations| {
        let draws = &mut Draws::from_stream(stream(5, "act", 0));
        policy.sample_actions(seen, draws).unwrap()
    };
    let free = sample(&seen);
    let weight = Tensor::<2>::from_floats([[1.0], [0.0]], &device);
    seen.guidance = Some(Guidance {
        known: free.clone().narrow(1, 0, 3) + 0.2,
        weight: weight.expand([2, 3]),
    });
    let moved = (sample(&seen) - free).abs();
    let most = |row: usize| moved.clone().narrow(0, row, 1).max().into_scalar::<f32>();
    assert!(most(0) > 0.05 && most(1) < 1e-5, "{} {}", most(0), most(1));
}

#[test]
fn padded_actions_do_not_change_the_loss() {
    let device = Device::flex();
    let loss = |padded: f32| {
        let mut batch = batch(&device);
        let rest = batch.actions.clone().slice([0..2, 0..3, 0..2]);
        batch.actions = Tensor::cat(vec![rest, Tensor::full([2, 1, 2], padded, &device)], 1);
        let valid = TensorData::from([[1.0f32, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]]);
        batch.weight = Tensor::from_data(valid, &device);
        let draws = &mut Draws::from_stream(stream(1, "noise", 0));
        let loss = policy(&device).loss(&batch, draws).unwrap();
        loss.total.into_scalar::<f32>()
    };
    assert_eq!(loss(0.0), loss(0.9));
}

#[test]
fn one_batch_is_overfitted() {
    let device = Device::flex().autodiff();
    let mut policy = policy(&device);
    let loss_at = |policy: &FlowPolicy, step: u64| {
        let draws = &mut Draws::from_stream(stream(1, "noise", step));
        policy.loss(&batch(&device), draws).unwrap()
    };
    let mean = |policy: &FlowPolicy| {
        (0..8)
            .map(|step| loss_at(policy, 1000 + step).total.into_scalar::<f32>())
            .sum::<f32>()
            / 8.0
    };
    let before = mean(&policy);
    for step in 0..150 {
        let gradients = loss_at(&policy, step).total.backward();
        policy = policy.map(&mut Descent {
            gradients,
            rate: 3e-3,
        });
    }
    let after = mean(&policy);
    assert!(after < 0.25 * before, "{before} to {after}");
}

#[test]
fn settings_that_cannot_be_are_named() {
    let wrong = |change: fn(&mut FlowPolicyConfig)| {
        let mut config = small();
        change(&mut config);
        config.validate(&inputs()).unwrap_err().to_string()
    };
    assert!(wrong(|c| c.heads = 5).contains("`width`"));
    assert!(
        wrong(|c| c.receding_horizon = 9)
            .contains("`receding_horizon`: expected 1 to the action horizon (4), found 9")
    );
    assert!(wrong(|c| c.vision.channels = vec![8, 12]).contains("`vision.channels`"));
    assert!(wrong(|c| c.vision.channels = vec![8; 5]).contains("sides that divide by 32"));
    assert!(wrong(|c| c.draws = 0).contains("`draws`"));
    let unknown = serde_json::from_str::<FlowPolicyConfig>(r#"{"slotz": 3}"#).unwrap_err();
    assert!(unknown.to_string().contains("slotz"), "{unknown}");
}

#[test]
fn widths_of_nothing_and_weights_that_are_none_are_named() {
    for (state, action, expected) in [
        (0, 2, "`observation.state`: expected 1 to 65536, found 0"),
        (2, 0, "`action`: expected 1 to 65536, found 0"),
    ] {
        let narrow = PolicyInputs {
            state: Some(state),
            action,
            ..inputs()
        };
        let said = small().validate(&narrow).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
    for grounding_weight in [f64::NAN, f64::INFINITY, -0.1] {
        let config = FlowPolicyConfig {
            grounding_weight,
            ..small()
        };
        let said = config.validate(&inputs()).unwrap_err().to_string();
        let expected = format!("`grounding_weight`: expected 0 or more, found {grounding_weight}");
        assert!(said.contains(&expected), "{said}");
    }
    small().validate(&inputs()).unwrap();
}
