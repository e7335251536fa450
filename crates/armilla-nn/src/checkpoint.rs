//! Weights as safetensors, keyed by parameter path.
