//! What losses of several models share.

use armilla_nn::reduction::mean;
use burn::tensor::Tensor;

/// What a training step minimises, and its parts.
#[derive(Debug)]
pub struct ModelLoss {
    /// The weighted sum, `[1]`.
    pub total: Tensor<1>,
    /// Its parts before weighting, detached, `[1]` each.
    pub figures: Vec<(&'static str, Tensor<1>)>,
}

/// The weighted terms of a loss beside the prediction, and what is shown of all.
#[derive(Default)]
pub(crate) struct Terms {
    weighted: Vec<Tensor<1>>,
    figures: Vec<(&'static str, Tensor<1>)>,
}

impl Terms {
    /// Adds a term unless its weight turns it off.
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        weight: f64,
        term: impl FnOnce() -> Tensor<1>,
    ) {
        if weight == 0.0 {
            return;
        }
        let term = term();
        self.show(name, term.clone());
        self.weighted.push(term * weight);
    }

    /// Shows a figure that is no term of its own.
    pub(crate) fn show(&mut self, name: &'static str, value: Tensor<1>) {
        self.figures.push((name, value.detach()));
    }

    /// Shows the errors of the predictions of each reach, `[1]` each, and adds up: their mean, then the terms in their order.
    pub(crate) fn finish(mut self, errors: Vec<Tensor<1>>) -> ModelLoss {
        self.show("prediction", errors[0].clone());
        self.show("prediction_last", errors[errors.len() - 1].clone());
        let terms = self.weighted.into_iter();
        ModelLoss {
            total: terms.fold(mean(Tensor::cat(errors, 0)), |total, term| total + term),
            figures: self.figures,
        }
    }
}

/// Mean squared error of the predictions of each reach, `[1]` each.
///
/// # Shapes
///
/// - predictions: as [`Transition::look_ahead`](crate::Transition::look_ahead) gives them
/// - targets: `[batch, time, latent]`
/// - weight: `[batch, time - 1]`, 0 where a step lies past the episode's end
pub(crate) fn prediction_errors(
    predictions: &[Tensor<3>],
    targets: &Tensor<3>,
    weight: &Tensor<2>,
) -> Vec<Tensor<1>> {
    let error = |(ahead, prediction): (usize, &Tensor<3>)| {
        let count = prediction.dims()[1];
        let target = targets.clone().narrow(1, ahead + 1, count);
        let error = (prediction.clone() - target).square().mean_dim(2);
        masked(error, &weight.clone().narrow(1, ahead, count))
    };
    predictions.iter().enumerate().map(error).collect()
}

/// Mean of the values by their weights. Values `[batch, count, 1]`, weight `[batch, count]`.
pub(crate) fn masked(values: Tensor<3>, weight: &Tensor<2>) -> Tensor<1> {
    let [batch, count, _] = values.dims();
    let weighted = mean(values.reshape([batch, count]) * weight.clone());
    weighted / mean(weight.clone()).clamp_min(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn masked_values_do_not_count() {
        let device = Device::flex();
        let values = Tensor::<1>::from_floats([1.0, 2.0, 9.0, 3.0], &device).reshape([2, 2, 1]);
        let weight = Tensor::<2>::from_floats([[1.0, 1.0], [0.0, 1.0]], &device);
        assert!((masked(values, &weight).into_scalar::<f32>() - 2.0).abs() < 1e-6);
    }

    #[test]
    fn terms_are_weighed_and_shown() {
        let device = Device::flex();
        let filled = |value: f32| Tensor::<1>::full([1], value, &device);
        let mut terms = Terms::default();
        terms.add("off", 0.0, || {
            unreachable!("a term that is off costs nothing")
        });
        terms.add("on", 0.5, || filled(4.0));
        let loss = terms.finish(vec![filled(1.0), filled(3.0)]);
        assert_eq!(loss.total.into_scalar::<f32>(), 4.0);
        let shown = loss.figures.into_iter();
        let shown: Vec<_> = shown
            .map(|(name, value)| (name, value.into_scalar::<f32>()))
            .collect();
        let expected = [("on", 4.0), ("prediction", 1.0), ("prediction_last", 3.0)];
        assert_eq!(shown, expected);
    }
}
