//! Weights under the names and in the layouts that PyTorch gives them.
//!
//! A model of ours says by [`Rule`]s which of its tensors another's is: the paths up to a layer on both sides, and how arrays are laid
//! out. Everything else follows: names of normalisations (`gamma` is `weight`), a list of all that is missing, extra or misshapen under
//! the other's names, and the way back.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;

use super::{Weights, traverse, with_weights};
use crate::error::{Error, Result};

/// Where a layer of ours lies in another's file.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Path of a layer or tensor of ours; `*` stands for a number, the same one on both sides.
    pub ours: String,
    /// The other's.
    pub theirs: String,
    /// How its weight lies there.
    pub layout: Layout,
}

/// How an array of ours lies in another's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Matrices named `weight` transposed, as PyTorch's linear layers have them; all else as it is but for leading axes of 1.
    Linear,
    /// The kernel of a convolution, `[out, in, height, width]`, over so many channels.
    Convolution {
        /// Channels in.
        channels: usize,
    },
    /// The kernel of a convolution over sequences, `[out, in, taps]`.
    Sequence {
        /// Steps that it covers.
        taps: usize,
    },
    /// The kernel of a transposed convolution over sequences, `[in, out, taps]`.
    SequenceUp {
        /// Steps that it reaches.
        taps: usize,
    },
    /// One of several linear layers that lie in one matrix, one below the other.
    Part {
        /// Which.
        index: usize,
        /// Of how many.
        of: usize,
    },
    /// As it is, also if it is a matrix named `weight`.
    Same,
}

impl Rule {
    /// Of a linear layer or anything else that needs no layout of its own.
    #[must_use]
    pub fn new(ours: impl Into<String>, theirs: impl Into<String>) -> Self {
        Self {
            ours: ours.into(),
            theirs: theirs.into(),
            layout: Layout::Linear,
        }
    }

    /// With another layout.
    #[must_use]
    pub fn with_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// The same for a module that lies under a path, on both sides.
    #[must_use]
    pub fn under(self, ours: &str, theirs: &str) -> Self {
        Self {
            ours: format!("{ours}.{}", self.ours),
            theirs: format!("{theirs}.{}", self.theirs),
            ..self
        }
    }

    /// The other's name of a tensor of ours, if the rule is about it.
    fn rename(&self, name: &str) -> Option<String> {
        let (mut segments, mut numbers) = (name.split('.'), Vec::new());
        for expected in self.ours.split('.') {
            match (expected, segments.next()?) {
                ("*", number) if number.parse::<usize>().is_ok() => numbers.push(number),
                (expected, found) if expected == found => {}
                _ => return None,
            }
        }
        let mut numbers = numbers.into_iter();
        let path = self.theirs.split('.').map(|segment| match segment {
            "*" => numbers.next().unwrap_or("*"),
            other => other,
        });
        let rest = segments.map(|segment| match segment {
            "gamma" => "weight",
            "beta" => "bias",
            other => other,
        });
        Some(path.chain(rest).collect::<Vec<_>>().join("."))
    }
}

/// Where one tensor of ours lies.
struct Source {
    name: String,
    layout: Layout,
    transposed: bool,
}

fn source(rules: &[Rule], name: &str) -> Option<Source> {
    let (name_there, layout) = rules
        .iter()
        .find_map(|rule| Some((rule.rename(name)?, rule.layout)))?;
    let matrix = name.ends_with(".weight");
    Some(Source {
        name: name_there,
        layout,
        transposed: matrix && layout != Layout::Same,
    })
}

impl Source {
    /// The shape that a tensor of ours has in the other's file.
    fn shape(&self, ours: &[usize]) -> Vec<usize> {
        match (self.layout, ours) {
            (Layout::Convolution { channels }, &[taps, outputs]) if self.transposed => {
                let side = ((taps / channels) as f64).sqrt().round() as usize;
                vec![outputs, channels, side, side]
            }
            (Layout::Sequence { taps }, &[rows, outputs]) if self.transposed => {
                vec![outputs, rows / taps, taps]
            }
            (Layout::SequenceUp { taps }, &[input, columns]) if self.transposed => {
                vec![input, columns / taps, taps]
            }
            (Layout::Part { of, .. }, &[input, output]) if self.transposed => {
                vec![of * output, input]
            }
            (Layout::Part { of, .. }, &[output]) => vec![of * output],
            (_, &[input, output]) if self.transposed => vec![output, input],
            _ => ours.to_vec(),
        }
    }

    /// The other's array as ours.
    fn read(&self, data: &TensorData, ours: &[usize]) -> TensorData {
        let values: Vec<f32> = data.iter::<f32>().collect();
        let values = match (self.layout, ours) {
            (Layout::Convolution { channels }, &[rows, outputs]) if self.transposed => {
                channels_last(&values, [rows, outputs], channels)
            }
            (Layout::Sequence { taps }, &[rows, outputs]) if self.transposed => {
                channels_last(&values, [rows, outputs], rows / taps)
            }
            (Layout::SequenceUp { taps }, &[_, columns]) if self.transposed => {
                each_transposed(&values, [columns / taps, taps])
            }
            (Layout::Part { index, .. }, ours) => {
                let count: usize = ours.iter().product();
                let part = &values[index * count..(index + 1) * count];
                match ours {
                    &[input, output] if self.transposed => transposed(part, [output, input]),
                    _ => part.to_vec(),
                }
            }
            (_, &[input, output]) if self.transposed => transposed(&values, [output, input]),
            _ => values,
        };
        TensorData::new(values, ours.to_vec())
    }
}

/// Another's kernel as ours: rows of pixel or tap and channel from `[out, in, height, width]` or `[out, in, taps]`.
fn channels_last(values: &[f32], [rows, outputs]: [usize; 2], channels: usize) -> Vec<f32> {
    let pixels = rows / channels;
    let place = |at: usize| {
        let (row, output) = (at / outputs, at % outputs);
        let (pixel, channel) = (row / channels, row % channels);
        (output * channels + channel) * pixels + pixel
    };
    (0..values.len()).map(|at| values[place(at)]).collect()
}

/// The way back of [`channels_last`].
fn channels_first(values: &[f32], [rows, outputs]: [usize; 2], channels: usize) -> Vec<f32> {
    let pixels = rows / channels;
    let place = |at: usize| {
        let (output, row) = (at / rows, at % rows);
        let (channel, pixel) = (row / pixels, row % pixels);
        (pixel * channels + channel) * outputs + output
    };
    (0..values.len()).map(|at| values[place(at)]).collect()
}

impl Source {
    /// Writes an array of ours where the other has it.
    fn write(&self, data: &TensorData, theirs: &mut Weights) {
        let ours = data.shape().to_vec();
        let values: Vec<f32> = data.iter::<f32>().collect();
        let values = match (self.layout, ours.as_slice()) {
            (Layout::Convolution { channels }, &[rows, outputs]) if self.transposed => {
                channels_first(&values, [rows, outputs], channels)
            }
            (Layout::Sequence { taps }, &[rows, outputs]) if self.transposed => {
                channels_first(&values, [rows, outputs], rows / taps)
            }
            (Layout::SequenceUp { taps }, &[_, columns]) if self.transposed => {
                each_transposed(&values, [taps, columns / taps])
            }
            (_, &[input, output]) if self.transposed => transposed(&values, [input, output]),
            _ => values,
        };
        let shape = self.shape(&ours);
        let Layout::Part { index, of } = self.layout else {
            theirs.insert(self.name.clone(), TensorData::new(values, shape));
            return;
        };
        let count = values.len();
        let mut whole: Vec<f32> = match theirs.get(&self.name) {
            Some(begun) => begun.iter::<f32>().collect(),
            None => vec![0.0; of * count],
        };
        whole[index * count..(index + 1) * count].copy_from_slice(&values);
        theirs.insert(self.name.clone(), TensorData::new(whole, shape));
    }
}

/// A matrix of so many rows and columns, its axes exchanged.
fn transposed(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let place = |at: usize| (at % rows) * columns + at / rows;
    (0..values.len()).map(|at| values[place(at)]).collect()
}

/// Matrices of so many rows and columns that follow one another, each with its axes exchanged.
fn each_transposed(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let matrices = values.chunks(rows * columns);
    matrices
        .flat_map(|matrix| transposed(matrix, [rows, columns]))
        .collect()
}

/// Whether a file's array is one of the expected shape: leading and trailing axes of 1 say nothing.
fn fits(found: &[usize], expected: &[usize]) -> bool {
    let bare = |shape: &[usize]| {
        let shape = shape.iter().skip_while(|&&axis| axis == 1);
        let mut shape: Vec<_> = shape.copied().collect();
        while shape.last() == Some(&1) {
            shape.pop();
        }
        shape
    };
    bare(found) == bare(expected)
}

/// Replaces all of a module's parameters and running statistics by another's weights; `origin` is where errors say they came from.
/// What of the other's `is_ignored` names may be there.
///
/// # Errors
///
/// If a tensor of the module has no rule, or the other's weights are not exactly those that the rules name: the error lists each missing,
/// extra and misshapen one under the other's name.
pub fn with_foreign_weights<M: Module>(
    module: M,
    mut found: Weights,
    rules: &[Rule],
    is_ignored: &dyn Fn(&str) -> bool,
    origin: &Path,
) -> Result<M> {
    let (mut ours, mut used, mut problems) = (Weights::new(), Vec::new(), Vec::new());
    for (name, shape) in traverse::shapes(&module) {
        let Some(source) = source(rules, &name) else {
            problems.push(format!("`{name}` has no counterpart"));
            continue;
        };
        let expected = source.shape(&shape);
        match found.get(&source.name) {
            None => problems.push(format!(
                "`{}` is missing (expected shape {expected:?})",
                source.name
            )),
            Some(data) if !fits(&data.shape().to_vec(), &expected) => problems.push(format!(
                "`{}` has shape {:?}, expected {expected:?}",
                source.name,
                data.shape().to_vec()
            )),
            Some(data) => {
                ours.insert(name, source.read(data, &shape));
            }
        }
        used.push(source.name);
    }
    found.retain(|name, _| !used.contains(name) && !is_ignored(name));
    problems.extend(found.iter().map(|(name, data)| {
        let shape = data.shape().to_vec();
        format!("`{name}` of shape {shape:?} is not in the model")
    }));
    problems.dedup();
    if !problems.is_empty() {
        let path = origin.to_path_buf();
        return Err(Error::Mismatch { path, problems });
    }
    with_weights(module, ours, origin)
}

/// Those of a module's tensors that are among the other's, laid out as ours and under our names: of weights, or of their gradients.
///
/// Arrays of another shape than the module's are left out.
#[must_use]
pub fn as_ours<M: Module>(module: &M, theirs: &Weights, rules: &[Rule]) -> Weights {
    let tensors = traverse::shapes(module).into_iter();
    let found = tensors.filter_map(|(name, shape)| {
        let source = source(rules, &name)?;
        let data = theirs.get(&source.name)?;
        let fits = fits(&data.shape().to_vec(), &source.shape(&shape));
        fits.then(|| (name, source.read(data, &shape)))
    });
    found.collect()
}

/// Tensors of ours under the other's names and in its layouts: weights, or their gradients. What no rule is about is left out.
#[must_use]
pub fn as_theirs(ours: &Weights, rules: &[Rule]) -> Weights {
    let mut theirs = Weights::new();
    for (name, data) in ours {
        if let Some(source) = source(rules, name) {
            source.write(data, &mut theirs);
        }
    }
    theirs
}

/// Names and shapes of all of a module's tensors as the other has them.
#[must_use]
pub fn their_shapes<M: Module>(module: &M, rules: &[Rule]) -> BTreeMap<String, Vec<usize>> {
    let tensors = traverse::shapes(module).into_iter();
    let found = tensors.filter_map(|(name, shape)| {
        let source = source(rules, &name)?;
        let shape = source.shape(&shape);
        Some((source.name, shape))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{
        LayerNorm, LayerNormConfig, Linear, LinearConfig, SequenceConv, SequenceConvConfig,
        SequenceUpConv, SequenceUpConvConfig, StridedConv, StridedConvConfig,
    };
    use burn::tensor::{Device, Tensor};

    #[derive(Module, Debug)]
    struct Model {
        layers: Vec<Linear>,
        pair: [Linear; 2],
        conv: StridedConv,
        sequence: SequenceConv,
        up: SequenceUpConv,
        norm: LayerNorm,
    }

    fn rules() -> [Rule; 8] {
        [
            Rule::new("layers.*", "net.*.fc"),
            Rule::new("pair.0", "qk").with_layout(Layout::Part { index: 0, of: 2 }),
            Rule::new("pair.1", "qk").with_layout(Layout::Part { index: 1, of: 2 }),
            Rule::new("conv.kernel", "conv").with_layout(Layout::Convolution { channels: 3 }),
            Rule::new("sequence.kernel", "steps").with_layout(Layout::Sequence { taps: 2 }),
            Rule::new("up.kernel", "grow").with_layout(Layout::SequenceUp { taps: 4 }),
            Rule::new("up.bias", "grow.bias"),
            Rule::new("norm", "ln"),
        ]
    }

    fn model() -> Model {
        let device = Device::flex();
        let linear = |input, output| LinearConfig::new(input, output).init(&device);
        Model {
            layers: vec![linear(2, 3)],
            pair: [linear(2, 2), linear(2, 2)],
            conv: StridedConvConfig::new(3, 2).with_side(2).init(&device),
            sequence: SequenceConvConfig::new(3, 2).with_taps(2).init(&device),
            up: SequenceUpConvConfig::new(2, 3).init(&device),
            norm: LayerNormConfig::new(2).init(&device),
        }
    }

    fn counted(shape: &[usize]) -> TensorData {
        let count: usize = shape.iter().product();
        TensorData::new(
            (0..count).map(|i| i as f32).collect::<Vec<_>>(),
            shape.to_vec(),
        )
    }

    fn theirs() -> Weights {
        let shapes: [(&str, &[usize]); 12] = [
            ("net.0.fc.weight", &[3, 2]),
            ("net.0.fc.bias", &[3]),
            ("qk.weight", &[4, 2]),
            ("qk.bias", &[4]),
            ("conv.weight", &[2, 3, 2, 2]),
            ("conv.bias", &[2]),
            ("steps.weight", &[2, 3, 2]),
            ("steps.bias", &[2]),
            ("grow.weight", &[2, 3, 4]),
            ("grow.bias", &[3]),
            ("ln.weight", &[1, 2]),
            ("ln.bias", &[2]),
        ];
        shapes
            .map(|(name, shape)| (name.to_owned(), counted(shape)))
            .into()
    }

    fn load(weights: Weights) -> Result<Model> {
        let path = Path::new("their.pt");
        with_foreign_weights(model(), weights, &rules(), &|name| name == "step", path)
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn arrays_are_laid_out_as_ours() {
        let mut weights = theirs();
        weights.insert("step".to_owned(), counted(&[1]));
        let model = load(weights).unwrap();
        assert_eq!(
            values(model.layers[0].weight.val()),
            [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]
        );
        assert_eq!(values(model.pair[1].weight.val()), [4.0, 6.0, 5.0, 7.0]);
        let bias = model.pair[1].bias.as_ref().unwrap();
        assert_eq!(values(bias.val()), [2.0, 3.0]);
        // Row: first pixel, first channel, of both outputs; then its second channel.
        let kernel = values(model.conv.kernel.weight.val());
        assert_eq!(kernel[..4], [0.0, 12.0, 4.0, 16.0]);
        // Row: first tap, first channel, of both outputs; then its second channel.
        let kernel = values(model.sequence.kernel.weight.val());
        assert_eq!(kernel[..4], [0.0, 6.0, 2.0, 8.0]);
        // Row: first channel in, first tap, of all outputs; then its second tap.
        let kernel = values(model.up.kernel.weight.val());
        assert_eq!(kernel[..4], [0.0, 4.0, 8.0, 1.0]);
        assert_eq!(values(model.norm.gamma.val()), [0.0, 1.0]);
        let some: Weights = [("conv.bias".to_owned(), counted(&[2]))].into();
        let found = as_ours(&model, &some, &rules());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["conv.kernel.bias"]);
    }

    #[test]
    fn what_is_read_is_written_back() {
        let model = load(theirs()).unwrap();
        let mut expected = theirs();
        expected.insert("ln.weight".to_owned(), counted(&[2]));
        let found = as_theirs(&super::super::weights(&model), &rules());
        assert_eq!(found, expected);
        let shapes = their_shapes(&model, &rules());
        assert_eq!(shapes["qk.weight"], [4, 2]);
        assert_eq!(shapes.len(), expected.len());
    }

    #[test]
    fn everything_wrong_is_listed_under_their_names() {
        let mut weights = theirs();
        weights.remove("ln.bias");
        weights.insert("extra".to_owned(), counted(&[5]));
        weights.insert("conv.weight".to_owned(), counted(&[2, 3, 1, 1]));
        let error = load(weights).unwrap_err().to_string();
        for part in [
            "`ln.bias` is missing (expected shape [2])",
            "`conv.weight` has shape [2, 3, 1, 1], expected [2, 3, 2, 2]",
            "`extra` of shape [5] is not in the model",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
