//! Random streams keyed by `(seed, stream, step)`: nothing to save, nothing to restore.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

/// The generator of one step of one stream. Equal keys give equal numbers on every machine.
#[must_use]
pub fn stream(seed: u64, stream: &str, step: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&fnv1a(stream.as_bytes()).to_le_bytes());
    key[16..24].copy_from_slice(&step.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Standard normal values.
#[must_use]
pub fn normals(generator: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| StandardNormal.sample(generator))
        .collect()
}

/// The 64-bit FNV-1a hash: stable across versions, which `std`'s hasher is not.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;

    #[test]
    fn keys_tell_streams_apart() {
        let draw = |seed, name, step| stream(seed, name, step).random::<u64>();
        assert_eq!(draw(1, "noise", 2), draw(1, "noise", 2));
        assert_ne!(draw(1, "noise", 2), draw(1, "noise", 3));
        assert_ne!(draw(1, "noise", 2), draw(1, "order", 2));
        assert_ne!(draw(1, "noise", 2), draw(2, "noise", 2));
    }

    #[test]
    fn normals_have_unit_variance() {
        let values = normals(&mut stream(0, "test", 0), 20_000);
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }
}
