//! Devices by name.

use burn::tensor::Device;

use crate::error::{Error, Result};

/// The device that `--device` names: `cpu`, or with its cargo feature `cuda:N` or `vulkan`.
///
/// # Errors
///
/// If the name is unknown, or the device's cargo feature is not built in.
pub fn parse(name: &str) -> Result<Device> {
    let feature = match name.split(':').next().unwrap_or_default() {
        "cpu" if name == "cpu" => return Ok(Device::flex()),
        "cuda" => "cuda",
        "vulkan" => "vulkan",
        _ => return Err(Error::UnknownDevice(name.to_owned())),
    };
    Err(Error::DeviceNotBuilt {
        device: name.to_owned(),
        feature,
    })
}

/// Whether a device is the CPU, with or without autodiff.
#[must_use]
pub fn is_cpu(device: &Device) -> bool {
    armilla_kernels::runs_on(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        assert!(parse("cpu").is_ok());
        let message = |name| {
            parse(name)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        assert!(
            message("cuda:0").contains("--features cuda"),
            "{}",
            message("cuda:0")
        );
        assert!(
            message("tpu").contains("expected `cpu`"),
            "{}",
            message("tpu")
        );
        assert!(message("cpu:1").contains("found `cpu:1`"));
    }
}
