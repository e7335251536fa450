//! Agreement with the Python DINO-WM of stable-worldmodel 0.1.1 on random weights and inputs (`scripts/fixtures/dino_wm.py`).

use super::*;
use crate::batch::{Pairs, TrainingBatch};
use crate::context::Context;
use crate::dino_wm::config::{DinoWmLossConfig, TokenPredictorConfig};
use crate::encoder::VitConfig;
use crate::jepa::published::tests::{Golden, close, left_over, paper_keys};
use crate::observations::Observations;
use crate::transition::Transition as _;
use armilla_core::random::stream;
use armilla_nn::checkpoint::foreign::as_ours;
use armilla_nn::checkpoint::{Metadata, gradients, weights, write};
use burn::tensor::Tensor;
use std::path::PathBuf;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dino_wm")
}

fn config() -> DinoWmConfig {
    DinoWmConfig {
        image_size: 8,
        state: 4,
        state_embedding: 5,
        encoder: EncoderConfig::VisionTransformer(VitConfig {
            patch: 4,
            width: 24,
            layers: 2,
            heads: 3,
            hidden: 96,
            ..VitConfig::dinov2_small()
        }),
        action_embedding: 5,
        predictor: TokenPredictorConfig {
            depth: 2,
            heads: 4,
            head_width: 6,
            hidden: 40,
            dropout: 0.0,
        },
        decoder_hidden: 0,
        loss: DinoWmLossConfig {
            decoder_weight: 0.0,
            ..DinoWmLossConfig::default()
        },
        ..DinoWmConfig::paper()
    }
}

fn load(device: &Device) -> DinoWm {
    DinoWm::load_published(&config(), &folder().join("weights.pt"), device).unwrap()
}

fn observations(golden: &Golden, device: &Device) -> Observations {
    let states: Tensor<3> = golden.tensor("proprio", device);
    Observations {
        states: Some(states.reshape([12, 4])),
        ..golden.observations(device)
    }
}

/// Upstream's latents carry the action's embedding last: without it, token after token. `[rows, frames, tokens, 34]`
fn without_action(golden: &Golden, name: &str, device: &Device) -> Tensor<3> {
    golden
        .tensor::<4>(name, device)
        .narrow(3, 0, 29)
        .flatten(2, 3)
}

#[track_caller]
fn expect<const D: usize>(name: &str, found: Tensor<D>, expected: Tensor<D>) {
    close(name, &found.into_data(), &expected.into_data());
}

#[test]
fn out_of_training_it_is_pythons() {
    let device = Device::flex();
    let (model, golden) = (load(&device), Golden::open(&folder()));
    let latents = model
        .encode(observations(&golden, &device))
        .reshape([3, 4, 116]);
    expect(
        "latents",
        latents.clone(),
        without_action(&golden, "eval.latents", &device),
    );
    let blocks: Tensor<3> = golden.tensor("actions", &device);
    let off = &mut armilla_nn::dropout::Dropout::Off;
    let found = model.look_ahead(latents.clone(), blocks.narrow(1, 0, 3), 1, off);
    expect(
        "predictions",
        found[0].clone(),
        without_action(&golden, "predictions", &device),
    );

    let start = latents
        .clone()
        .slice([0..1, 0..1])
        .reshape([1, 116])
        .repeat_dim(0, 5);
    let candidates: Tensor<3> = golden.tensor("plan.candidates", &device);
    let rollout = model.rollout(Context::of_one(start.clone()), candidates);
    let all = Tensor::cat(vec![start.unsqueeze_dim(1), rollout.clone()], 1);
    expect(
        "rollout",
        all,
        without_action(&golden, "plan.rollout", &device),
    );
    let goal = latents.slice([0..1, 3..4]).reshape([1, 116]);
    let costs = model.cost(rollout.narrow(1, 3, 1).reshape([1, 5, 116]), goal);
    golden.expect("plan.costs", costs);
}

#[test]
fn in_training_loss_and_gradients_are_pythons() {
    let device = Device::flex().autodiff();
    let (model, golden) = (load(&device), Golden::open(&folder()));
    let blocks: Tensor<3> = golden.tensor("actions", &device);
    let batch = TrainingBatch {
        observations: observations(&golden, &device),
        frames: 4,
        time: 4,
        blocks: blocks.narrow(1, 0, 3),
        mean_actions: Tensor::zeros([3, 3, 2], &device),
        weight: Tensor::ones([3, 3], &device),
        rotated: None,
        pairs: Pairs {
            from: Vec::new(),
            to: Vec::new(),
            steps: Tensor::zeros([3, 1], &device),
            weight: Tensor::zeros([3, 1], &device),
        },
    };
    let loss = model.loss(batch, &mut stream(0, "test", 0));
    golden.expect("train.loss", loss.total.clone());
    let found = gradients(&model, &loss.total.backward());
    let expected = as_ours(&model, &golden.named("grad."), &dino_wm_rules());
    assert_eq!(expected.len(), 7 + 2, "three of one matrix");
    for (name, expected) in expected {
        close(&name, &found[&name], &expected);
    }
}

#[test]
fn a_model_of_paper_size_is_read_whole() {
    const TABLE: &str = "backbone.embeddings.position_embeddings";
    let config = DinoWmConfig {
        image_size: 224,
        decoder_hidden: 0,
        loss: config().loss,
        ..DinoWmConfig::paper()
    };
    let model = config.init_to_load(&Device::flex()).unwrap();
    let mut keys = paper_keys(&folder());
    assert_eq!(keys.len(), 302);
    // The table of positions is that of 518 px.
    let table = TensorData::zeros::<f32, _>([1, 1 + 37 * 37, 384]);
    assert_eq!(keys[TABLE], table.shape().to_vec());
    let mut table = Weights::from([(TABLE.to_owned(), table)]);
    resize(&mut table, TABLE, &config).unwrap();
    keys.insert(TABLE.to_owned(), table[TABLE].shape().to_vec());
    let masks = (0..6).map(|block| format!("predictor.transformer.layers.{block}.0.bias"));
    let mut expected = vec![format!("backbone.embeddings.{MASK_TOKEN}")];
    expected.extend(masks);
    assert_eq!(left_over(keys, &model, &dino_wm_rules()), expected);
}

#[test]
fn a_backbone_alone_is_read_and_its_positions_resized() {
    let (device, golden) = (Device::flex(), Golden::open(&folder()));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let load = |backbone: &Weights, config: &DinoWmConfig| {
        write(&path, backbone, &Metadata::new()).unwrap();
        Encoder::load_dinov2(config, &path, &device).unwrap()
    };
    let (published, _) = read(&folder().join("model.safetensors")).unwrap();
    let backbone = published.into_iter().filter_map(|(name, data)| {
        let name = name.strip_prefix("backbone.")?;
        Some((name.to_owned(), data))
    });
    let mut backbone: Weights = backbone.collect();
    let images = golden.observations(&device).images.reshape([12, 8, 8, 3]);
    golden.expect("eval.patches", load(&backbone, &config()).tokens(images));

    let table = golden.0["positions.table"].clone();
    backbone.insert("embeddings.position_embeddings".to_owned(), table);
    let config = DinoWmConfig {
        image_size: 12,
        ..config()
    };
    let encoder = weights(&load(&backbone, &config));
    let found = &encoder[&format!("{TRANSFORMER}.positions")];
    close("positions", found, &golden.0["positions.resized"]);
}

#[test]
fn positions_are_resized_as_transformers_does() {
    let golden = Golden::open(&folder());
    let table: Vec<f32> = golden.0["positions.table"].iter().collect();
    let found = TensorData::new(resized(&table, [5, 3], 24), [1, 10, 24]);
    close("positions", &found, &golden.0["positions.resized"]);
}

#[test]
fn what_does_not_fit_is_named_as_in_the_file() {
    let device = Device::flex();
    let load = |config: &DinoWmConfig| {
        let path = folder().join("model.safetensors");
        DinoWm::load_published(config, &path, &device)
            .unwrap_err()
            .to_string()
    };
    let mut wrong = config();
    wrong.predictor.depth = 3;
    let missing = "`predictor.transformer.layers.2.0.norm.weight` is missing (expected shape [34])";
    assert!(load(&wrong).contains(missing), "{}", load(&wrong));
    let wrong = DinoWmConfig {
        state: 3,
        ..config()
    };
    let shape = "`extra_encoders.proprio.patch_embed.weight` has shape [5, 4, 1], expected [5, 3]";
    assert!(load(&wrong).contains(shape), "{}", load(&wrong));
    let mut wrong = config();
    let EncoderConfig::VisionTransformer(vit) = &mut wrong.encoder else {
        unreachable!("as built above");
    };
    vit.patch = 0;
    let patch = "encoder.patch: expected at least 1";
    assert!(load(&wrong).contains(patch), "{}", load(&wrong));
    let path = folder().join("model.safetensors");
    let found = Encoder::load_dinov2(&wrong, &path, &device);
    let said = found.unwrap_err().to_string();
    assert!(said.contains(patch), "{said}");
}
