//! Each operation against burn's own, forward and backward, and against finite differences.

use armilla_core::random::{normals, stream};
use burn::tensor::module::batch_norm_train;
use burn::tensor::{Device, Tensor, TensorData, activation as burns_activation};

use super::*;

fn random<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = normals(&mut stream(0, name, 0), shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    let values = |tensor: Tensor<D>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
    let pairs = values(a).into_iter().zip(values(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The largest differences of output and input gradient between two ways to compute the same.
fn compare<const D: usize, const E: usize>(
    input: Tensor<D>,
    ours: impl Fn(Tensor<D>) -> Tensor<E>,
    burns: impl Fn(Tensor<D>) -> Tensor<E>,
) -> (f32, f32) {
    let run = |forward: &dyn Fn(Tensor<D>) -> Tensor<E>| {
        let input = input.clone().require_grad();
        let output = forward(input.clone());
        let weights = random("weights", output.dims(), &output.device());
        let gradients = (output.clone() * weights).sum().backward();
        (output.inner(), input.grad(&gradients).unwrap())
    };
    let ((ours, our_gradient), (burns, burns_gradient)) = (run(&ours), run(&burns));
    (apart(ours, burns), apart(our_gradient, burns_gradient))
}

#[test]
fn activations_agree_with_burn() {
    let device = Device::flex().autodiff();
    type Reference = fn(Tensor<2>) -> Tensor<2>;
    let functions: [(Function, Reference); 4] = [
        (Function::Identity, |x| x * 1.0),
        (Function::Relu, burns_activation::relu),
        (Function::Silu, burns_activation::silu),
        (Function::Gelu, burns_activation::gelu),
    ];
    for (function, reference) in functions {
        // More than one thread's share, and a length that fills no vector.
        let input = random("input", [37, 1001], &device) * 3.0;
        let (output, gradient) = compare(input, |x| activate(x, function), reference);
        assert!(
            output < 2e-6 && gradient < 2e-6,
            "{function:?}: {output} {gradient}"
        );
    }
    let not_a_number = Tensor::<1>::from_floats([f32::NAN], &device);
    for function in [Function::Relu, Function::Silu, Function::Gelu] {
        let found = activate(not_a_number.clone(), function).into_scalar::<f32>();
        assert!(found.is_nan(), "{function:?}");
    }
}

fn check_slopes<C: activation::Curve>() {
    for step in -60..=60 {
        let (x, h) = (step as f32 / 10.0 + 0.05, 1e-2);
        let slope = (C::value(x + h) - C::value(x - h)) / (2.0 * h);
        assert!((slope - C::slope(x)).abs() < 1e-4, "at {x}: {slope}");
    }
}

#[test]
fn slopes_are_those_of_the_values() {
    check_slopes::<activation::Identity>();
    check_slopes::<activation::Relu>();
    check_slopes::<activation::Silu>();
    check_slopes::<activation::Gelu>();
}

#[test]
fn normalization_agrees_with_burn() {
    let device = Device::flex().autodiff();
    let [scale, shift] = ["scale", "shift"].map(|name| random(name, [48], &device));
    for (function, reference) in [
        (Function::Identity, None),
        (
            Function::Silu,
            Some(burns_activation::silu as fn(Tensor<2>) -> Tensor<2>),
        ),
    ] {
        let settings = NormalizationSettings {
            epsilon: 1e-5,
            function,
        };
        let ours = |x: Tensor<2>| {
            normalize(
                x.clone(),
                moments(x),
                [scale.clone(), shift.clone()],
                settings,
            )
        };
        let burns = |x: Tensor<2>| {
            let output = batch_norm_train(x, scale.clone(), shift.clone(), 1e-5).output;
            reference.map_or(output.clone(), |function| function(output))
        };
        // Two chunks and a part of one; a mean that costs precision.
        let input = random("input", [1111, 48], &device) + 5.0;
        let (output, gradient) = compare(input, ours, burns);
        assert!(
            output < 2e-5 && gradient < 5e-5,
            "{function:?}: {output} {gradient}"
        );
    }
}

#[test]
fn scale_and_shift_get_their_gradients() {
    let device = Device::flex().autodiff();
    let settings = NormalizationSettings {
        epsilon: 1e-5,
        function: Function::Gelu,
    };
    let input = random("input", [600, 3], &device);
    let weights = random("weights", [600, 3], &device);
    let [scale, shift] =
        ["scale", "shift"].map(|name| random::<1>(name, [3], &device).require_grad());
    let loss = |scale: Tensor<1>, shift: Tensor<1>| {
        let output = normalize(
            input.clone(),
            moments(input.clone()),
            [scale, shift],
            settings,
        );
        (output * weights.clone()).sum()
    };
    let gradients = loss(scale.clone(), shift.clone()).backward();
    for index in 0..3 {
        let bump = |by: f32| {
            let mut values = [0.0; 3];
            values[index] = by;
            Tensor::<1>::from_floats(values, &device)
        };
        let slope = |at: &dyn Fn(f32) -> f32| (at(1e-2) - at(-1e-2)) / 2e-2;
        let of = |tensor: &Tensor<1>| {
            tensor
                .grad(&gradients)
                .unwrap()
                .into_data()
                .iter::<f32>()
                .nth(index)
                .unwrap()
        };
        let scale_slope = slope(&|by| loss(scale.clone() + bump(by), shift.clone()).into_scalar());
        let shift_slope = slope(&|by| loss(scale.clone(), shift.clone() + bump(by)).into_scalar());
        assert!(
            (scale_slope - of(&scale)).abs() < 2e-2,
            "{scale_slope} {}",
            of(&scale)
        );
        assert!(
            (shift_slope - of(&shift)).abs() < 2e-2,
            "{shift_slope} {}",
            of(&shift)
        );
    }
}

#[test]
fn moments_are_the_columns() {
    let device = Device::flex();
    let input = random("input", [1500, 5], &device) * 2.0 + 100.0;
    let found = moments(input.clone());
    let (variance, mean) = input.var_mean_bias(0);
    assert!(apart(found.clone().slice([0..1, 0..5]), mean) < 1e-4);
    assert!(apart(found.slice([1..2, 0..5]), variance) < 1e-3);
}

#[test]
fn patches_are_squares_of_the_padded_picture() {
    let device = Device::flex().autodiff();
    for patch in [
        Patch {
            side: 4,
            stride: 2,
            padding: 1,
        },
        Patch {
            side: 4,
            stride: 4,
            padding: 0,
        },
        Patch {
            side: 3,
            stride: 1,
            padding: 1,
        },
        Patch {
            side: 5,
            stride: 3,
            padding: 2,
        },
    ] {
        let reference = |x: Tensor<4>| {
            let [batch, height, width, channels] = x.dims();
            let [rows, columns] = patch.grid(height, width);
            let around = (patch.padding, patch.padding);
            let padded = x.pad([(0, 0), around, around, (0, 0)], 0.0);
            let mut found = Vec::new();
            for row in 0..rows {
                for column in 0..columns {
                    let square = padded
                        .clone()
                        .narrow(1, row * patch.stride, patch.side)
                        .narrow(2, column * patch.stride, patch.side);
                    found.push(square.reshape([batch, 1, patch.side * patch.side * channels]));
                }
            }
            Tensor::cat(found, 1).reshape([-1, (patch.side * patch.side * channels) as i64])
        };
        let input = random("input", [2, 8, 12, 3], &device);
        let (output, gradient) = compare::<4, 2>(input, |x| unfold(x, patch), reference);
        assert!(
            output == 0.0 && gradient < 1e-5,
            "{patch:?}: {output} {gradient}"
        );
    }
}

#[test]
fn views_are_read_in_their_own_order() {
    let device = Device::flex();
    let input = random("input", [6, 40], &device);
    let expected = burns_activation::silu(input.clone().transpose());
    assert!(apart(activate(input.transpose(), Function::Silu), expected) < 1e-6);
}
