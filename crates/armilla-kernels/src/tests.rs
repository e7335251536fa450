//! Each operation against burn's own, forward and backward, and against finite differences.

use armilla_core::random::{normals, stream};
use burn::tensor::module::batch_norm_train;
use burn::tensor::{Device, Tensor, TensorData, activation as burns_activation};

use super::*;

mod layers;

use layers::inputs;

fn random<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = normals(&mut stream(0, name, 0), shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    let values = |tensor: Tensor<D>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
    let pairs = values(a).into_iter().zip(values(b));
    pairs
        .map(|(a, b)| (a - b).abs())
        .max_by(f32::total_cmp)
        .unwrap_or(0.0)
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
    let functions: [(Function, Reference); 5] = [
        (Function::Identity, |x| x * 1.0),
        (Function::Relu, burns_activation::relu),
        (Function::Silu, burns_activation::silu),
        (Function::Gelu, burns_activation::gelu),
        (Function::Mish, burns_activation::mish),
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
    for function in [
        Function::Relu,
        Function::Silu,
        Function::Gelu,
        Function::Mish,
    ] {
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
    check_slopes::<activation::Mish>();
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
            own_moments: true,
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
        own_moments: true,
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
fn a_step_of_adamw_by_hand() {
    let device = Device::flex();
    let tensor = |value: f32| Tensor::<1>::from_floats([value], &device);
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 0.0,
        rate: 0.1,
        root_correction: 0.5,
        kept: 0.99,
    };
    let parameter = [tensor(2.0), tensor(1.0), tensor(3.0)];
    // Gradient 2: first 0.9 + 0.2, second 2.97 + 0.04, then 1.98 - 0.1 * 1.1 / (sqrt(3.01) / 0.5).
    let found = adamw(parameter.clone(), tensor(2.0), step);
    let expected = [1.98 - 0.11 * 0.5 / 3.01f32.sqrt(), 1.1, 3.01];
    for (found, expected) in found.into_iter().zip(expected) {
        assert!((found.into_scalar::<f32>() - expected).abs() < 1e-6);
    }
    // What others hold stays as it was.
    assert_eq!(
        parameter.map(|part| part.into_scalar::<f32>()),
        [2.0, 1.0, 3.0]
    );
}

#[test]
fn views_are_read_in_their_own_order() {
    let device = Device::flex();
    let input = random("input", [6, 40], &device);
    let expected = burns_activation::silu(input.clone().transpose());
    assert!(apart(activate(input.transpose(), Function::Silu), expected) < 1e-6);
}

const LAYER_NORM: RowSettings = RowSettings {
    epsilon: 1e-5,
    centered: true,
};

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let device = Device::flex().autodiff();
    let patch = Patch {
        side: 4,
        stride: 2,
        padding: 1,
    };
    let all = || {
        let [pictures, kernel, weight, scale, shift] =
            inputs([20 * 16 * 16 * 8, 128 * 24, 24 * 24, 24, 24], &device)
                .map(Tensor::require_grad);
        let pictures = pictures.reshape([20, 16, 16, 8]);
        let rows = convolve(
            pictures,
            kernel.clone().reshape([128, 24]),
            [None, None],
            patch,
            Function::Silu,
        );
        let settings = NormalizationSettings {
            epsilon: 1e-5,
            function: Function::Silu,
            own_moments: true,
        };
        let factors = [scale.clone(), shift.clone()];
        let rows = normalize(rows.clone(), moments(rows), factors.clone(), settings);
        let rows = linear(
            rows,
            weight.clone().reshape([24, 24]),
            Some(shift.clone()),
            Function::Gelu,
        );
        let tokens: Tensor<3> = normalize_rows(rows, factors, LAYER_NORM).reshape([20, 64, 24]);
        let attended = attend([tokens.clone(), tokens.clone(), tokens], None, 3);
        let gradients = (attended.clone() * attended.clone())
            .sum_dim(2)
            .sum_dim(1)
            .sum_dim(0)
            .backward();
        let mut found = vec![attended.into_data()];
        for input in [kernel, weight, scale, shift] {
            found.push(input.grad(&gradients).unwrap().into_data());
        }
        found
    };
    assert!(on_threads(1, all) == on_threads(3, all));
}

#[test]
fn wide_layers_do_not_depend_on_the_number_of_threads() {
    let device = Device::flex();
    let patch = Patch {
        side: 3,
        stride: 1,
        padding: 1,
    };
    let all = || {
        let sizes = [2 * 17 * 13 * 64, 9 * 64 * 80, 15 * 530, 530 * 1088];
        let [pictures, kernel, rows, weight] = inputs(sizes, &device);
        let kernel = kernel.reshape([9 * 64, 80]);
        let pictures = pictures.reshape([2, 17, 13, 64]);
        let convolved = convolve(pictures, kernel, [None, None], patch, Function::Relu);
        let weight = weight.reshape([530, 1088]);
        let product = linear(rows.reshape([15, 530]), weight, None, Function::Relu);
        [convolved, product].map(Tensor::into_data)
    };
    assert!(on_threads(1, all) == on_threads(3, all));
}

fn on_threads<T: Send>(threads: usize, work: impl Fn() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}
