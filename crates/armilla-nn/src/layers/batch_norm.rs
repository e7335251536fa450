//! Batch normalisation of rows, with the activation that follows it.

use armilla_kernels::{Function, NormalizationSettings};
use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use crate::Activation;

/// Normalises the columns of rows, then applies the activation.
///
/// As everywhere with burn's `BatchNorm`: on an autodiff device it normalises with the batch's own mean and variance and moves
/// the running ones by `momentum` (0.1); on a plain device, so in a model after `valid()`, it uses the running ones. The running
/// variance is the biased one, where PyTorch keeps the unbiased. A clone shares its running statistics with the original.
///
/// # Shapes
///
/// - input and output: `[rows, channel]`
#[must_use]
pub fn batch_norm(norm: &BatchNorm, input: Tensor<2>, activation: Option<Activation>) -> Tensor<2> {
    let device = input.device();
    if !crate::fused::runs_on(&device) {
        let normalized = norm.forward(input);
        return activation.map_or(normalized.clone(), |function| function.forward(normalized));
    }
    let settings = NormalizationSettings {
        epsilon: norm.epsilon as f32,
        function: activation.map_or(Function::Identity, Activation::fused),
    };
    let channels = input.dims()[1];
    let running = [&norm.running_mean, &norm.running_var];
    let moments = if device.is_autodiff() && norm.training.is_enabled() {
        let moments = armilla_kernels::moments(input.clone());
        for (row, running) in running.into_iter().enumerate() {
            let new = moments
                .clone()
                .slice([row..row + 1, 0..channels])
                .reshape([channels]);
            let old = running.value_sync().to_device(&device);
            running.update((old * (1.0 - norm.momentum) + new * norm.momentum).detach());
        }
        moments
    } else {
        let rows = running.map(|running| running.value().to_device(&device).reshape([1, channels]));
        Tensor::cat(rows.to_vec(), 0)
    };
    armilla_kernels::normalize(
        input,
        moments,
        [norm.gamma.val(), norm.beta.val()],
        settings,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;
    use armilla_core::random::stream;
    use burn::module::Module as _;
    use burn::nn::BatchNormConfig;
    use burn::tensor::{Device, TensorData, Tolerance};

    #[test]
    fn it_trains_on_the_batch_and_then_uses_running_statistics() {
        let device = Device::flex().autodiff();
        let norm = BatchNormConfig::new(1).init(&device);
        let input = Tensor::<2>::from_floats([[1.0], [3.0]], &device);
        let expect = |output: Tensor<2>, values: [f32; 2]| {
            let expected = TensorData::from([[values[0]], [values[1]]]);
            output
                .into_data()
                .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-4));
        };
        expect(batch_norm(&norm, input.clone(), None), [-1.0, 1.0]);
        // One update of momentum 0.1: mean 0.9 * 0 + 0.1 * 2, variance 0.9 * 1 + 0.1 * 1.
        expect(batch_norm(&norm.valid(), input.inner(), None), [0.8, 2.8]);
    }

    #[test]
    fn it_is_burns_and_then_the_activation() {
        let device = Device::flex().autodiff();
        let input = random::normal(&mut stream(0, "input", 0), [40, 6], &device);
        let [ours, burns] = [(); 2].map(|()| BatchNormConfig::new(6).init(&device));
        let found = batch_norm(&ours, input.clone(), Some(Activation::Silu));
        let expected = burn::tensor::activation::silu(burns.forward(input));
        let close = Tolerance::absolute(1e-5);
        found
            .into_data()
            .assert_approx_eq::<f32>(&expected.into_data(), close);
        for (ours, burns) in [
            (&ours.running_mean, &burns.running_mean),
            (&ours.running_var, &burns.running_var),
        ] {
            let [ours, burns] = [ours, burns].map(|running| running.value_sync().into_data());
            ours.assert_approx_eq::<f32>(&burns, Tolerance::absolute(1e-5));
        }
    }
}
