//! Layers, pooling, attention.

use burn::tensor::Int;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;

use super::*;

/// Shapes and values of some inputs, flat.
pub(super) fn inputs<const N: usize>(sizes: [usize; N], device: &Device) -> [Tensor<1>; N] {
    let mut index = 0;
    sizes.map(|size| {
        index += 1;
        random(&format!("input {index}"), [size], device)
    })
}

/// Output and gradients of all inputs against another way to compute them, and the gradients against finite differences.
fn check<const N: usize, const D: usize>(
    what: &str,
    sizes: [usize; N],
    ours: impl Fn([Tensor<1>; N]) -> Tensor<D>,
    reference: impl Fn([Tensor<1>; N]) -> Tensor<D>,
) {
    let device = Device::flex().autodiff();
    let inputs = inputs(sizes, &device);
    let loss = |output: Tensor<D>| {
        let weights = random("weights", output.dims(), &output.device());
        (output * weights).sum()
    };
    let run = |forward: &dyn Fn([Tensor<1>; N]) -> Tensor<D>| {
        let inputs = inputs.clone().map(Tensor::require_grad);
        let output = forward(inputs.clone());
        let gradients = loss(output.clone()).backward();
        let gradients = inputs.map(|input| input.grad(&gradients).unwrap());
        (output.inner(), gradients)
    };
    let ((output, gradients), (expected, slopes)) = (run(&ours), run(&reference));
    let scale = expected.clone().abs().max().into_scalar::<f32>().max(1.0);
    let error = apart(output, expected);
    assert!(error < 1e-5 * scale, "{what}: output {error} of {scale}");
    for (index, (found, expected)) in gradients.iter().zip(slopes).enumerate() {
        let scale = expected.clone().abs().max().into_scalar::<f32>().max(1.0);
        let error = apart(found.clone(), expected);
        assert!(
            error < 2e-5 * scale,
            "{what}: gradient {index}: {error} of {scale}"
        );
        let length = sizes[index];
        for at in [0, length / 3, length - 1] {
            let moved = |by: f32| {
                let mut inputs = inputs.clone();
                let mut bump = vec![0.0; length];
                bump[at] = by;
                let bump = Tensor::from_data(TensorData::new(bump, [length]), &device);
                inputs[index] = inputs[index].clone() + bump;
                f64::from(loss(ours(inputs)).into_scalar::<f32>())
            };
            let slope = (moved(0.02) - moved(-0.02)) / 0.04;
            let found = found.clone().narrow(0, at, 1).into_scalar::<f32>();
            let error = (slope - f64::from(found)).abs();
            assert!(
                error < 2e-2 * f64::from(scale),
                "{what}: slope {index}, {at}: {slope} {found}"
            );
        }
    }
}

fn burns(function: Function) -> fn(Tensor<2>) -> Tensor<2> {
    match function {
        Function::Identity => |x| x,
        Function::Relu => burns_activation::relu,
        Function::Silu => burns_activation::silu,
        Function::Gelu => burns_activation::gelu,
        Function::Mish => burns_activation::mish,
    }
}

#[test]
fn linear_layers_agree_with_burn() {
    // One task; many tasks and a part of one; a product that all threads share; few rows and a large matrix, and a part of a block of it.
    let sizes = [[3, 5, 2], [1111, 7, 33], [40, 512, 500], [15, 530, 1088]];
    for [rows, inputs, outputs] in sizes {
        for function in [Function::Identity, Function::Silu, Function::Gelu] {
            let sizes = [rows * inputs, inputs * outputs, outputs];
            let shaped = |[input, weight, bias]: [Tensor<1>; 3]| {
                let weight = weight * (1.0 / (inputs as f64).sqrt());
                (
                    input.reshape([rows, inputs]),
                    weight.reshape([inputs, outputs]),
                    bias,
                )
            };
            let ours = |all| {
                let (input, weight, bias) = shaped(all);
                linear(input, weight, Some(bias), function)
            };
            let reference = |all| {
                let (input, weight, bias) = shaped(all);
                burns(function)(input.matmul(weight) + bias.unsqueeze())
            };
            check("linear", sizes, ours, reference);
            let bare = |[input, weight]: [Tensor<1>; 2]| {
                linear(
                    input.reshape([rows, inputs]),
                    weight.reshape([inputs, outputs]),
                    None,
                    function,
                )
            };
            let product = |[input, weight]: [Tensor<1>; 2]| {
                burns(function)(
                    input
                        .reshape([rows, inputs])
                        .matmul(weight.reshape([inputs, outputs])),
                )
            };
            if function == Function::Identity {
                check(
                    "linear without bias",
                    [rows * inputs, inputs * outputs],
                    bare,
                    product,
                );
            }
        }
    }
}

/// Every patch as a row, by burn's own operations.
fn gather(x: Tensor<4>, patch: Patch) -> Tensor<2> {
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
}

#[test]
fn convolutions_agree_with_patches_and_a_product() {
    let patch = |side, stride, padding| Patch {
        side,
        stride,
        padding,
    };
    // The last has more pictures than groups that are summed on their own, and blocks of several lines and pictures.
    for (patch, [batch, height, width, channels], outputs) in [
        (patch(4, 2, 1), [2, 8, 12, 3], 5),
        (patch(4, 4, 0), [2, 8, 12, 3], 5),
        (patch(3, 1, 1), [3, 6, 5, 2], 4),
        (patch(5, 3, 2), [2, 8, 8, 1], 3),
        (patch(4, 2, 1), [37, 16, 16, 8], 6),
    ] {
        let taps = patch.side * patch.side * channels;
        let sizes = [batch * height * width * channels, taps * outputs, outputs];
        let shaped = |[input, kernel, bias]: [Tensor<1>; 3]| {
            let input = input.reshape([batch, height, width, channels]);
            let kernel = kernel * (1.0 / (taps as f64).sqrt());
            (input, kernel.reshape([taps, outputs]), bias)
        };
        let ours = |all| {
            let (input, kernel, bias) = shaped(all);
            convolve(input, kernel, [None, Some(bias)], patch, Function::Silu)
        };
        let reference = |all| {
            let (input, kernel, bias) = shaped(all);
            burns_activation::silu(gather(input, patch).matmul(kernel) + bias.unsqueeze())
        };
        check(&format!("{patch:?}"), sizes, ours, reference);
        let scale = |x: &Tensor<4>| {
            let steps = Tensor::<1, Int>::arange(0..outputs as i64, &x.device());
            steps.float() * 0.3 - 0.5
        };
        let ours = |all| {
            let (input, kernel, bias) = shaped(all);
            let columns = [Some(scale(&input)), Some(bias)];
            convolve(input, kernel, columns, patch, Function::Silu)
        };
        let reference = |all| {
            let (input, kernel, bias) = shaped(all);
            let scaled = kernel * scale(&input).unsqueeze();
            burns_activation::silu(gather(input, patch).matmul(scaled) + bias.unsqueeze())
        };
        check(&format!("scaled, {patch:?}"), sizes, ours, reference);
    }
}

#[test]
fn wide_convolutions_agree_with_patches_and_a_product() {
    // An odd line and column, tasks that end within a picture, more padding than a pixel's neighbours reach.
    for (padding, [batch, height, width, channels], outputs) in [
        (1, [3, 17, 13, 64], 80),
        (0, [1, 20, 19, 80], 64),
        (2, [2, 10, 14, 64], 64),
    ] {
        let (side, stride) = (3, 1);
        let patch = Patch {
            side,
            stride,
            padding,
        };
        let device = Device::flex();
        let taps = side * side * channels;
        let sizes = [batch * height * width * channels, taps * outputs, outputs];
        let [input, kernel, bias] = inputs(sizes, &device);
        let input = input.reshape([batch, height, width, channels]);
        let kernel = kernel.reshape([taps, outputs]);
        let columns = [None, Some(bias.clone())];
        let found = convolve(
            input.clone(),
            kernel.clone(),
            columns,
            patch,
            Function::Silu,
        );
        let expected =
            burns_activation::silu(gather(input, patch).matmul(kernel) + bias.unsqueeze());
        let scale = expected.clone().abs().max().into_scalar::<f32>();
        let error = apart(found, expected);
        assert!(error < 5e-6 * scale, "{patch:?}: {error} of {scale}");
    }
}

#[test]
fn max_pooling_agrees_with_burn() {
    for (side, stride, padding) in [(3, 2, 1), (2, 2, 0), (3, 1, 1)] {
        let patch = Patch {
            side,
            stride,
            padding,
        };
        let ours = |[input]: [Tensor<1>; 1]| max_pool(input.reshape([2, 9, 8, 5]), patch);
        let reference = |[input]: [Tensor<1>; 1]| {
            let pictures = input.reshape([2, 9, 8, 5]).permute([0, 3, 1, 2]);
            let options = MaxPoolOptions {
                kernel_size: [side; 2],
                stride: [stride; 2],
                padding: [(padding, padding); 2],
                dilation: [1; 2],
                ceil_mode: false,
            };
            max_pool2d(pictures, options).permute([0, 2, 3, 1])
        };
        check(&format!("{patch:?}"), [2 * 9 * 8 * 5], ours, reference);
    }
}

#[test]
fn normalization_of_rows_agrees_with_burn() {
    for [rows, width] in [[5, 3], [601, 96]] {
        let ours = |[input, scale, shift]: [Tensor<1>; 3]| {
            normalize_rows(
                input.reshape([rows, width]) + 3.0,
                [scale, shift],
                LAYER_NORM,
            )
        };
        let reference = |[input, scale, shift]: [Tensor<1>; 3]| {
            let input = input.reshape([rows, width]) + 3.0;
            let (variance, mean) = input.clone().var_mean_bias(1);
            let normal = (input - mean) / (variance + 1e-5).sqrt();
            normal * scale.unsqueeze() + shift.unsqueeze()
        };
        check("layer norm", [rows * width, width, width], ours, reference);
        let ours = |[input, scale, shift]: [Tensor<1>; 3]| {
            let settings = RowSettings {
                centered: false,
                ..LAYER_NORM
            };
            normalize_rows(input.reshape([rows, width]) + 0.5, [scale, shift], settings)
        };
        let reference = |[input, scale, shift]: [Tensor<1>; 3]| {
            let input = input.reshape([rows, width]) + 0.5;
            let square = input.clone().square().mean_dim(1);
            input / (square + 1e-5).sqrt() * scale.unsqueeze() + shift.unsqueeze()
        };
        let what = "root-mean-square norm";
        check(what, [rows * width, width, width], ours, reference);
    }
}

#[test]
fn attention_agrees_with_burn() {
    // Few tokens; more queries than a task takes; a batch of one, whose queries are shared among tasks.
    for ([batch, heads, queries, context, features], masked) in [
        ([2, 3, 5, 7, 4], false),
        ([3, 2, 4, 4, 8], true),
        ([2, 1, 150, 33, 6], false),
        ([1, 2, 130, 40, 4], true),
    ] {
        let width = heads * features;
        let device = Device::flex().autodiff();
        // Every second token is hidden from some queries.
        let hidden = random::<3>("mask", [1, queries, context], &device).greater_elem(0.5);
        let mask = masked.then(|| hidden.clone().float() * -1e9);
        let sizes = [
            batch * queries * width,
            batch * context * width,
            batch * context * width,
        ];
        let shaped = |[query, key, value]: [Tensor<1>; 3]| {
            let query = query.reshape([batch, queries, width]);
            [
                query,
                key.reshape([batch, context, width]),
                value.reshape([batch, context, width]),
            ]
        };
        let ours = |all| attend(shaped(all), mask.clone(), heads);
        let reference = |all| {
            let [query, key, value] = shaped(all).map(|tokens| {
                let count = tokens.dims()[1];
                tokens
                    .reshape([batch, count, heads, features])
                    .swap_dims(1, 2)
            });
            let mut scores = query.matmul(key.swap_dims(2, 3)) * (1.0 / (features as f64).sqrt());
            if masked {
                let hidden = hidden.clone().unsqueeze_dim::<4>(1);
                scores = scores.mask_fill(hidden.expand([batch, heads, queries, context]), -1e9);
            }
            let attended = burns_activation::softmax(scores, 3).matmul(value);
            attended.swap_dims(1, 2).reshape([batch, queries, width])
        };
        check("attention", sizes, ours, reference);
    }
}
