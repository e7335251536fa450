//! Every layer, forwards and backwards, against burn's own operations on the CPU in f32.

use std::path::Path;

use anyhow::Result;
use armilla_core::random::stream;
use armilla_nn::attention::{AttentionConfig, causal_mask};
use armilla_nn::checkpoint::{weights, with_weights};
use armilla_nn::device::is_cpu;
use armilla_nn::layers::{
    BatchNormConfig, ConvBlockConfig, GroupNormConfig, LayerNormConfig, Linear, LinearConfig,
    MlpConfig, SequenceConvConfig, SequenceUpConvConfig, StridedConvConfig, UpConvConfig,
    batch_norm, max_pool,
};
use armilla_nn::random::{normal, seeded};
use armilla_nn::transformer::AdaLnBlockConfig;
use armilla_nn::{Activation, Precision, fused};
use armilla_train::gradients::Gradients;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{Check, Tell, largest, largest_error, largest_of, training_device};

/// Named rows of numbers: the output and every gradient.
type Computed = Vec<(String, Vec<f64>)>;

/// A layer and what it is called.
type Case = (&'static str, fn(&Device) -> Result<Computed>);

/// What is checked. Sizes are no powers of two, so that edges show.
const CASES: &[Case] = &[
    ("activations", |device| {
        compute(&nothing(), [3, 37, 50], device, |_, input| {
            let each = [
                Activation::Relu,
                Activation::Silu,
                Activation::Gelu,
                Activation::Mish,
            ];
            let each = each.map(|activation| activation.forward(input.clone()));
            Tensor::cat(each.to_vec(), 0)
        })
    }),
    ("linear, GELU", |device| {
        let layer = place(&LinearConfig::new(75, 33), LinearConfig::init, device)?;
        compute(&layer, [37, 75], device, |layer, input| {
            layer.activated(input, Activation::Gelu)
        })
    }),
    ("small network with batch normalisation", |device| {
        let config = MlpConfig::new(20, 48, 7).with_depth(3);
        let config = config
            .with_batch_norm(true)
            .with_activation(Activation::Silu);
        let layer = place(&config, MlpConfig::init, device)?;
        compute(&layer, [65, 20], device, |layer, input| {
            layer.forward(input)
        })
    }),
    ("layer normalisation", |device| {
        let layer = place(&LayerNormConfig::new(50), LayerNormConfig::init, device)?;
        compute(&layer, [37, 50], device, |layer, input| {
            layer.forward(input)
        })
    }),
    ("group normalisation", |device| {
        let config = GroupNormConfig::new(3, 18);
        let layer = place(&config, GroupNormConfig::init, device)?;
        compute(&layer, [5, 11, 18], device, |layer, input| {
            layer.forward(input)
        })
    }),
    ("batch normalisation, SiLU", |device| {
        let layer = place(&BatchNormConfig::new(19), BatchNormConfig::init, device)?;
        compute(&layer, [90, 19], device, |layer, input| {
            batch_norm(layer, input, Some(Activation::Silu))
        })
    }),
    ("convolution, SiLU", |device| {
        let layer = place(
            &StridedConvConfig::new(5, 12),
            StridedConvConfig::init,
            device,
        )?;
        compute(&layer, [3, 12, 10, 5], device, |layer, input| {
            layer.activated(input, Activation::Silu)
        })
    }),
    ("convolution of patches", |device| {
        let config = StridedConvConfig::new(3, 24).with_side(4).with_stride(4);
        let config = config.with_padding(0);
        let layer = place(&config, StridedConvConfig::init, device)?;
        compute(&layer, [3, 12, 12, 3], device, |layer, input| {
            layer.forward(input)
        })
    }),
    ("convolution, batch normalisation, SiLU", |device| {
        let conv = StridedConvConfig::new(6, 10);
        let config = ConvBlockConfig::new(conv, Activation::Silu);
        let layer = place(&config, ConvBlockConfig::init, device)?;
        compute(&layer, [3, 10, 12, 6], device, |layer, input| {
            layer.forward(input)
        })
    }),
    ("upward convolution", |device| {
        let layer = place(&UpConvConfig::new(9, 5), UpConvConfig::init, device)?;
        compute(&layer, [2, 5, 6, 9], device, |layer, input| {
            layer.forward(input)
        })
    }),
    ("convolution over a sequence", |device| {
        let config = SequenceConvConfig::new(9, 5).with_taps(5).with_stride(2);
        let layer = place(&config, SequenceConvConfig::init, device)?;
        compute(&layer, [3, 13, 9], device, |layer, input| {
            layer.forward(input)
        })
    }),
    ("upward convolution over a sequence", |device| {
        let config = SequenceUpConvConfig::new(9, 5);
        let layer = place(&config, SequenceUpConvConfig::init, device)?;
        compute(&layer, [3, 7, 9], device, |layer, input| {
            layer.forward(input)
        })
    }),
    ("largest of squares", |device| {
        compute(&nothing(), [2, 9, 12, 5], device, |_, input| {
            max_pool(input, [3, 2, 1])
        })
    }),
    ("attention with a mask", |device| {
        let layer = place(&AttentionConfig::new(36, 3), AttentionConfig::init, device)?;
        compute(&layer, [3, 11, 36], device, |layer, input| {
            let mask = causal_mask(11, &input.device());
            layer.forward(input.clone(), input, Some(mask))
        })
    }),
    ("conditioned block", |device| {
        let layer = place(
            &AdaLnBlockConfig::new(24, 2),
            AdaLnBlockConfig::init,
            device,
        )?;
        compute(&layer, [3, 7, 24], device, |layer, input| {
            layer.forward(input.clone(), input.narrow(1, 0, 1), None)
        })
    }),
];

/// Checks every layer.
pub(super) fn check(device: &Device, precision: Precision, tell: &mut Tell<'_>) -> Result<()> {
    let limit = match precision {
        Precision::F32 if is_cpu(device) => 1e-4,
        // A GPU's exponentials and error functions are quick ones (4e-4 off with Vulkan on a CPU), and burn's autotune lets tensor
        // cores multiply f32 as TF32, whose significand has 11 bits.
        Precision::F32 => 2e-3,
        Precision::Bf16 => 2e-2,
    };
    for (name, case) in CASES {
        let expected = fused::plain(|| case(&Device::flex()))?;
        let found = precision.scope(|| case(device))?;
        tell(Check {
            name: format!("{name}: {} tensors", expected.len()),
            precision,
            measured: "error",
            found: apart(&found, &expected),
            limit,
        })?;
    }
    Ok(())
}

/// The largest error of all rows, each relative to its own largest value, or to a tenth of the case's where that is more: the gradient
/// of a bias that a normalisation or a softmax takes away again is nothing but rounding.
fn apart(found: &Computed, expected: &Computed) -> f64 {
    let largest = |(_, row): &(String, Vec<f64>)| largest(row);
    let floor = expected.iter().map(largest).fold(0.0, f64::max) / 10.0;
    let errors = expected
        .iter()
        .zip(found)
        .map(|(expected, found)| match expected.0 == found.0 {
            true => largest_error(&found.1, &expected.1, floor),
            false => f64::NAN,
        });
    match expected.len() == found.len() {
        true => largest_of(errors),
        false => f64::NAN,
    }
}

/// A module without weights.
fn nothing() -> Vec<Linear> {
    Vec::new()
}

/// A layer on a device with autodiff, its weights drawn on the CPU: each device has a generator of its own.
fn place<C, M: Module>(config: &C, init: impl Fn(&C, &Device) -> M, device: &Device) -> Result<M> {
    let cpu = Device::flex();
    let drawn = seeded(&cpu, 1, || init(config, &cpu));
    let layer = init(config, &training_device(device));
    Ok(with_weights(layer, weights(&drawn), Path::new("the CPU"))?)
}

/// The output of a layer on noise, and the gradients of the input and of every weight where each output counts differently.
fn compute<M: Module, const I: usize, const O: usize>(
    layer: &M,
    shape: [usize; I],
    device: &Device,
    forward: impl Fn(&M, Tensor<I>) -> Tensor<O>,
) -> Result<Computed> {
    let device = training_device(device);
    let input = normal(&mut stream(0, "input", 0), shape, &device).require_grad();
    let output = forward(layer, input.clone());
    let counts = normal(&mut stream(0, "counts", 0), output.dims(), &device);
    let backward = (output.clone() * counts).sum().backward();
    let numbers = |data: burn::tensor::TensorData| data.iter::<f64>().collect();
    let mut computed = vec![("output".to_owned(), numbers(output.into_data()))];
    if let Some(gradient) = input.grad(&backward) {
        computed.push(("input".to_owned(), numbers(gradient.into_data())));
    }
    let mut gradients = Gradients::default();
    gradients.add(layer, backward);
    for path in weights(layer).into_keys() {
        if let Some(gradient) = gradients.remove(&path) {
            computed.push((path, numbers(gradient.into_data())));
        }
    }
    Ok(computed)
}
