//! Devices by name.
//!
//! burn panics where a GPU's driver is absent or broken, some of it on threads of its own. So a GPU is first looked for among those
//! that burn lists, which asks the driver without loading it by force, and then has to add a few numbers, with panics caught: whoever asked
//! gets an [`Error`] that says what to do. A driver that ends the process cannot be caught so; `armilla doctor` asks from outside.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Device, Tensor};

use crate::error::{Error, Result};

/// The kinds of GPU, each the name of the cargo feature that builds it in.
const GPUS: [&str; 2] = ["cuda", "vulkan"];

/// The device that `--device` names: `cpu`, or with its cargo feature `cuda:N` or `vulkan:N`, where N is 0 unless given.
///
/// # Errors
///
/// If the name is unknown, the device's cargo feature is not built in, there is no such GPU, or it cannot compute.
pub fn parse(name: &str) -> Result<Device> {
    if name == "cpu" {
        return Ok(Device::flex());
    }
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let gpu = GPUS.into_iter().find(|gpu| *gpu == kind);
    match (gpu, index.parse()) {
        (Some(kind), Ok(index)) => open(name, kind, index),
        _ => Err(Error::UnknownDevice(name.to_owned())),
    }
}

/// What this program can drive: `cpu`, and the GPUs whose cargo features are built in.
#[must_use]
pub fn built_in() -> Vec<&'static str> {
    let gpus = GPUS
        .into_iter()
        .filter(|kind| matches!(listed(kind), Ok(Some(_)) | Err(_)));
    std::iter::once("cpu").chain(gpus).collect()
}

/// The GPUs that this program sees, as `--device` names them. Whether they compute is another question.
#[must_use]
pub fn gpus() -> Vec<String> {
    let numbered = |kind: &'static str| {
        let count = listed(kind).ok().flatten().map_or(0, |gpus| gpus.len());
        (0..count).map(move |index| format!("{kind}:{index}"))
    };
    GPUS.into_iter().flat_map(numbered).collect()
}

/// Whether a device is the CPU, with or without autodiff.
#[must_use]
pub fn is_cpu(device: &Device) -> bool {
    armilla_kernels::runs_on(device)
}

/// A device in words.
#[must_use]
pub fn describe(device: &Device) -> String {
    #[cfg(any(feature = "cuda-device", feature = "vulkan"))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    format!("{device:?}")
}

fn open(name: &str, kind: &'static str, index: usize) -> Result<Device> {
    let unusable = |reason| Error::DeviceUnusable {
        device: name.to_owned(),
        reason,
        advice: advice(kind),
    };
    let not_built = || Error::DeviceNotBuilt {
        device: name.to_owned(),
        feature: kind,
    };
    let mut all = listed(kind).map_err(unusable)?.ok_or_else(not_built)?;
    if index >= all.len() {
        let reason = match all.len() {
            0 => "the driver shows no such GPU".to_owned(),
            count => format!("the driver shows {count}, numbered from 0"),
        };
        return Err(unusable(reason));
    }
    let device = all.swap_remove(index);
    check(&device).map_err(unusable)?;
    Ok(device)
}

fn advice(kind: &str) -> &'static str {
    match kind {
        "cuda" => {
            "use `cpu`, or make `nvidia-smi` show the GPU here; a build by scripts/build_cuda.sh also needs \
             libnvrtc on the library path and CUDA's headers at CUDA_PATH or /usr/local/cuda"
        }
        _ => "use `cpu`, or install a Vulkan driver: `vulkaninfo` must show the GPU here",
    }
}

/// The GPUs of a kind; none where it is not built in.
fn listed(kind: &str) -> std::result::Result<Option<Vec<Device>>, String> {
    quietly(|| match kind {
        #[cfg(feature = "cuda-device")]
        "cuda" => Some(Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec()),
        #[cfg(feature = "vulkan")]
        "vulkan" => Some(Device::enumerate(burn::tensor::DeviceType::Vulkan).into_vec()),
        _ => None,
    })
}

/// Whether a device can compile a kernel, run it and give back the right result; why not, otherwise. No product: burn would try out
/// dozens of kernels for the fastest.
fn check(device: &Device) -> std::result::Result<(), String> {
    let sums = quietly(|| (Tensor::<1>::ones([4], device) + 1.0).into_data())?;
    match sums.iter::<f32>().all(|sum| sum == 2.0) {
        true => Ok(()),
        false => Err(format!("it added 1 to 1 and found {sums}")),
    }
}

/// Runs something, and gives back the first panic's message of whichever thread instead of printing it.
fn quietly<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let mut said = heard.lock().unwrap_or_else(PoisonError::into_inner);
        said.push(
            panic
                .payload_as_str()
                .unwrap_or("unknown")
                .trim()
                .to_owned(),
        );
    }));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(before);
    drop(alone);
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    done.map_err(|_payload| said.drain(..).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str) -> String {
        parse(name)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn errors_say_what_to_do() {
        assert!(parse("cpu").is_ok());
        for wrong in ["tpu", "cpu:1", "cuda:first"] {
            let found = message(wrong);
            assert!(
                found.contains("expected `cpu`") && found.contains(wrong),
                "{found}"
            );
        }
    }

    #[test]
    #[cfg(not(feature = "cuda-device"))]
    fn a_device_that_is_not_built_in_names_its_feature() {
        let found = message("cuda:0");
        assert!(found.contains("--features cuda"), "{found}");
        assert_eq!(built_in()[0], "cpu");
    }

    #[test]
    fn the_cpu_passes_the_check_and_a_panic_becomes_its_message() {
        assert_eq!(check(&Device::flex()), Ok(()));
        let broken: std::result::Result<(), _> = quietly(|| panic!("no driver"));
        assert_eq!(broken, Err("no driver".to_owned()));
    }
}
