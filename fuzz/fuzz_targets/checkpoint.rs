//! Hostile bytes for what reads checkpoints: the first byte says as which file they come.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use armilla_vla::load_policy;
use armilla_world::WorldModel;
use burn::tensor::Device;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("armilla-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    let (weights, config) = (FOLDER.join("model.safetensors"), FOLDER.join("config.json"));
    let device = Device::flex();
    if kind % 2 == 0 {
        fs::write(&weights, bytes).unwrap();
        armilla_nn::checkpoint::read(&weights).ok();
    } else {
        fs::write(&weights, b"").unwrap();
        fs::write(&config, bytes).unwrap();
        WorldModel::load(&FOLDER, &device).ok();
        load_policy(&FOLDER, &device).ok();
    }
});
