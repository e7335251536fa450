//! Batch normalisation of rows, with the activation that follows it.

use armilla_kernels::{Function, NormalizationSettings};
use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use super::grouped;
use crate::Activation;

/// Normalises the columns of rows, then applies the activation.
///
/// As everywhere with burn's `BatchNorm`: in training, on an autodiff device, it normalises with the batch's own mean and variance
/// and moves the running ones by `momentum` (0.1); a model after `valid()` uses the running ones, whatever device the input is on. The running
/// variance is the unbiased one, as PyTorch keeps it, where burn keeps the biased. A clone shares its running statistics with the original.
///
/// # Shapes
///
/// - input and output: `[rows, channel]`
#[must_use]
pub fn batch_norm(norm: &BatchNorm, input: Tensor<2>, activation: Option<Activation>) -> Tensor<2> {
    let device = input.device();
    let fused = crate::fused::runs_on(&device);
    let own_moments = device.is_autodiff() && norm.training.is_enabled();
    let moments = if own_moments {
        let moments = moments(input.clone(), fused);
        let [mean, variance] = moments.clone();
        let rows = input.dims()[0];
        let unbiased = variance * (rows as f64 / rows.saturating_sub(1).max(1) as f64);
        move_running(norm, &[mean, unbiased]);
        moments
    } else {
        [&norm.running_mean, &norm.running_var].map(|running| running.value().to_device(&device))
    };
    let [scale, shift] = [norm.gamma.val(), norm.beta.val()];
    if fused {
        let settings = NormalizationSettings {
            epsilon: norm.epsilon as f32,
            function: activation.map_or(Function::Identity, Activation::fused),
            own_moments,
        };
        let moments = Tensor::stack(moments.to_vec(), 0);
        return armilla_kernels::normalize(input, moments, [scale, shift], settings);
    }
    let [mean, variance] = moments;
    let scale = scale / (variance + norm.epsilon).sqrt();
    let shift = shift - mean * scale.clone();
    let normalized = grouped::shift(grouped::scale(input, scale), shift);
    activation.map_or(normalized.clone(), |function| function.forward(normalized))
}

/// Mean and biased variance of each column; those of the fused operation, which knows their gradient itself, have none.
fn moments(input: Tensor<2>, fused: bool) -> [Tensor<1>; 2] {
    if fused {
        let channels = input.dims()[1];
        let moments = armilla_kernels::moments(input);
        return [0, 1].map(|row| moments.clone().narrow(0, row, 1).reshape([channels]));
    }
    let mean = grouped::mean(input.clone());
    let centered = grouped::shift(input, -mean.clone());
    [mean, grouped::mean(centered.square())]
}

/// Moves the running statistics by `momentum`.
fn move_running(norm: &BatchNorm, moments: &[Tensor<1>; 2]) {
    for (running, new) in [&norm.running_mean, &norm.running_var]
        .into_iter()
        .zip(moments)
    {
        let old = running.value_sync().to_device(&new.device());
        let moved = old * (1.0 - norm.momentum) + new.clone().detach() * norm.momentum;
        running.update(moved.detach());
    }
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
        // One update of momentum 0.1: mean 0.9 * 0 + 0.1 * 2, variance 0.9 * 1 + 0.1 * 2.
        let [low, high] = [0.8, 2.8].map(|x| x / 1.1_f32.sqrt());
        expect(batch_norm(&norm.valid(), input.inner(), None), [low, high]);
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
        let same = |ours: Tensor<1>, burns: Tensor<1>| {
            let burns = burns.into_data();
            ours.into_data()
                .assert_approx_eq::<f32>(&burns, Tolerance::absolute(1e-5));
        };
        let [mean, burns_mean] = [&ours, &burns].map(|norm| norm.running_mean.value_sync());
        same(mean, burns_mean);
        // Both begin at 1 and move by a tenth; burn's towards the biased variance of the 40 rows.
        let [variance, burns_variance] = [&ours, &burns].map(|norm| norm.running_var.value_sync());
        same(variance, (burns_variance - 0.9) * (40.0 / 39.0) + 0.9);
    }

    #[test]
    fn burns_operations_give_the_same_values_and_gradients() {
        let device = Device::flex().autodiff();
        let draw = |name, rows| random::normal::<2>(&mut stream(0, name, 0), [rows, 3], &device);
        for rows in [10, 4608] {
            let run = || {
                let norm = BatchNormConfig::new(3).init(&device);
                let input = draw("input", rows).require_grad();
                let output = batch_norm(&norm, input.clone(), Some(Activation::Silu));
                let loss = (output.clone() * draw("factors", rows)).sum();
                let gradients = loss.backward();
                let scale = norm.gamma.val().grad(&gradients).unwrap();
                let running = norm.running_var.value_sync();
                [
                    output.into_data(),
                    input.grad(&gradients).unwrap().into_data(),
                    scale.into_data(),
                    running.into_data(),
                ]
            };
            for (found, expected) in crate::fused::plain(run).iter().zip(run()) {
                found.assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(1e-3, 1e-4));
            }
        }
    }

    #[test]
    fn gradients_past_running_statistics() {
        let device = Device::flex().autodiff();
        let norm = BatchNormConfig::new(3).init(&device);
        let draw = |name, rows| random::normal::<2>(&mut stream(0, name, 0), [rows, 3], &device);
        drop(batch_norm(&norm, draw("batch", 50) * 3.0 + 1.0, None));
        let norm = norm.valid();
        for rows in [1, 700] {
            let run = || {
                let input = draw("input", rows).require_grad();
                let output = batch_norm(&norm, input.clone(), Some(Activation::Silu));
                let gradients = (output.clone() * draw("factors", rows)).sum().backward();
                [
                    output.into_data(),
                    input.grad(&gradients).unwrap().into_data(),
                ]
            };
            for (found, expected) in run().iter().zip(crate::fused::plain(run)) {
                found.assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(1e-4, 1e-5));
            }
        }
    }
}
