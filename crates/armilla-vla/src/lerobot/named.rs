//! Weights and inputs that tests and `scripts/fixtures` compute from names, and comparison with what LeRobot computes of them.

use armilla_core::features::{ACTION, STATE};
use armilla_nn::checkpoint::Weights;
use burn::tensor::{Device, Tensor, TensorData};

use super::{Normalizer, PolicyInputs};
use crate::batch::{PolicyBatch, PolicyObservations};

/// Examples of a batch.
pub(crate) const BATCH: usize = 2;
/// Entries that are kept of each gradient.
const SAMPLES: usize = 8;
/// Of the largest gradient of all: a gradient below it is 0 but for rounding.
const ROUNDING: f32 = 1e-5;

/// In [-1, 1), from the name and the place alone.
pub(crate) fn uniform(name: &str, shape: &[usize]) -> TensorData {
    let seed = name.bytes().fold(2_166_136_261u32, |seed, byte| {
        (seed ^ u32::from(byte)).wrapping_mul(16_777_619)
    });
    let draw = |place: usize| {
        let mut mixed = seed.wrapping_add((place as u32).wrapping_mul(0x9E37_79B9));
        mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85EB_CA6B);
        mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xC2B2_AE35);
        mixed ^= mixed >> 16;
        (mixed >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(draw).collect();
    TensorData::new(values, shape.to_vec())
}

/// A weight as the scripts draw it.
pub(crate) fn weight(name: &str, shape: &[usize]) -> TensorData {
    let drawn = uniform(name, shape);
    let fan: usize = shape[1..].iter().product();
    let (scale, shift) = match shape {
        _ if name.ends_with("running_var") => (0.5, 1.0),
        [_] if name.ends_with("weight") => (0.3, 1.0),
        [_] => (0.3, 0.0),
        _ if name.contains("embed") => (0.5, 0.0),
        _ => ((3.0 / fan as f32).sqrt(), 0.0),
    };
    let values = drawn.iter::<f32>().map(|value| value * scale + shift);
    TensorData::new(values.collect::<Vec<_>>(), shape.to_vec())
}

/// The scripts' batch of so many steps of observations and of actions, normalised by our processors.
pub(crate) fn batch(
    inputs: &PolicyInputs,
    before: &Normalizer,
    [history, horizon]: [usize; 2],
    device: &Device,
) -> PolicyBatch {
    let state = |key: &str, width: Option<usize>| {
        let data = uniform(&format!("input.{key}"), &[BATCH, history, width?]);
        let values: Tensor<3> = Tensor::from_data(data, device);
        Some(before.normalize(key, values).unwrap())
    };
    let cameras = inputs.cameras.iter().map(|camera| {
        let shape = [BATCH, history, 3, camera.height, camera.width];
        let data = uniform(&format!("input.{}", camera.key), &shape);
        let pictures: Tensor<5> = Tensor::from_data(data, device);
        let pictures = ((pictures + 1.0) / 2.0).permute([0, 1, 3, 4, 2]);
        before.normalize(&camera.key, pictures).unwrap()
    });
    let shape = [BATCH, horizon, inputs.action];
    let actions: Tensor<3> = Tensor::from_data(uniform("input.action", &shape), device);
    let mut weight = vec![1.0f32; BATCH * horizon];
    weight[BATCH * horizon - 2..].fill(0.0);
    PolicyBatch {
        observations: PolicyObservations {
            images: cameras.collect(),
            state: state(STATE, inputs.state),
            environment_state: state("observation.environment_state", inputs.environment_state),
            words: None,
            guidance: None,
        },
        actions: before.normalize(ACTION, actions).unwrap(),
        weight: Tensor::from_data(TensorData::new(weight, [BATCH, horizon]), device),
    }
}

/// Compares relative to the largest value.
#[track_caller]
pub(crate) fn close(name: &str, found: &TensorData, expected: &TensorData, tolerance: f32) {
    let size = largest(expected).max(1e-6);
    let apart = apart(name, found, expected);
    assert!(apart <= tolerance * size, "{name}: {apart} apart of {size}");
}

/// Compares gradients, of all parameters and under the same names, with the entries kept of LeRobot's (`grad.*`): each relative to its
/// largest, unless it is 0 but for rounding there and then here too.
#[track_caller]
pub(crate) fn gradients_are_close(case: &str, found: &Weights, golden: &Weights, tolerance: f32) {
    let names: Vec<String> = found.keys().map(|name| format!("grad.{name}")).collect();
    let expected: Vec<&String> = golden.keys().filter(|n| n.starts_with("grad.")).collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), expected);
    let all = expected.iter().map(|&name| largest(&golden[name]));
    let floor = ROUNDING * all.fold(0.0, f32::max);
    for ((name, expected), gradient) in names.iter().zip(expected).zip(found.values()) {
        let expected = &golden[expected];
        let size = largest(expected);
        let limit = if size < floor {
            floor
        } else {
            tolerance * size
        };
        let apart = apart(name, &samples(gradient), expected);
        assert!(apart <= limit, "{case} {name}: {apart} apart of {size}");
    }
}

fn largest(data: &TensorData) -> f32 {
    data.iter::<f32>().map(f32::abs).fold(0.0, f32::max)
}

#[track_caller]
fn apart(name: &str, found: &TensorData, expected: &TensorData) -> f32 {
    assert_eq!(found.num_elements(), expected.num_elements(), "{name}");
    let pairs = found.iter::<f32>().zip(expected.iter::<f32>());
    pairs
        .map(|(a, b)| (a - b).abs())
        .max_by(f32::total_cmp)
        .unwrap_or(0.0)
}

/// A few entries of a gradient, spread evenly, and the largest magnitude.
fn samples(gradient: &TensorData) -> TensorData {
    let values: Vec<f32> = gradient.iter::<f32>().collect();
    let count = SAMPLES.min(values.len());
    let places = (0..count).map(|place| values[place * values.len() / count]);
    let kept: Vec<f32> = places.chain([largest(gradient)]).collect();
    TensorData::new(kept, [count + 1])
}
