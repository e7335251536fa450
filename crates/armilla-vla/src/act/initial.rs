//! First weights as LeRobot draws them: Xavier's in encoder and decoder, and in all of attention but the style's outputs.

use burn::module::{Initializer, Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use super::Act;

/// Redraws what does not begin as a linear layer does.
pub(super) fn as_published(model: Act) -> Act {
    model.map(&mut Xavier { path: Vec::new() })
}

struct Xavier {
    path: Vec<String>,
}

impl Xavier {
    /// Where a parameter of so many inputs and outputs begins, if not as it does already.
    fn initializer(&self, shape: &[usize]) -> Option<Initializer> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let in_style = path.first() == Some(&"style");
        let &[.., "attention", part, kind] = path.as_slice() else {
            let &[first, .., "weight"] = path.as_slice() else {
                return None;
            };
            let transforms = first == "encoder" || first == "decoder";
            return xavier(shape).filter(|_| transforms);
        };
        match (kind, part) {
            ("bias", _) => Some(Initializer::Zeros),
            (_, "output") if in_style => None,
            (_, "output") => xavier(shape),
            // Queries, keys and values are one matrix there.
            _ => match *shape {
                [input, output] => xavier(&[input, 3 * output]),
                _ => None,
            },
        }
    }
}

fn xavier(shape: &[usize]) -> Option<Initializer> {
    let &[input, output] = shape else {
        return None;
    };
    let max = (6.0 / (input + output) as f64).sqrt();
    Some(Initializer::Uniform { min: -max, max })
}

impl ModuleMapper for Xavier {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape().to_vec();
        match self.initializer(&shape) {
            Some(initializer) => initializer.init(shape, &param.lazy_device()),
            None => param,
        }
    }
}
