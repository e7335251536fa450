//! What an environment is, to and from the wire.

use armilla_core::{DataType, EnvironmentSpec, Feature, Features};

use super::{FeatureBody, SpecReply, check_elements, check_secs};
use crate::error::{BusError, Result};
use crate::message::check_limit;

impl From<&Feature> for FeatureBody {
    fn from(feature: &Feature) -> Self {
        Self {
            dtype: feature.data_type.name().to_owned(),
            shape: feature.shape.iter().map(|&size| size as u32).collect(),
            names: feature.names.clone(),
        }
    }
}

impl TryFrom<FeatureBody> for Feature {
    type Error = BusError;

    fn try_from(body: FeatureBody) -> Result<Self> {
        let data_type = DataType::named(&body.dtype).ok_or_else(|| BusError::Malformed {
            expected: "a data type of LeRobot",
            found: format!("`{}`", body.dtype),
        })?;
        check_limit("a shape's axes", body.shape.len(), 8)?;
        check_elements(body.names.len())?;
        Ok(Self {
            data_type,
            shape: body.shape.iter().map(|&size| size as usize).collect(),
            names: body.names,
        })
    }
}

impl From<&EnvironmentSpec> for SpecReply {
    fn from(spec: &EnvironmentSpec) -> Self {
        let features = spec.features.0.iter();
        Self {
            name: spec.name.clone(),
            protocol: spec.protocol.clone(),
            features: features
                .map(|(key, feature)| (key.clone(), feature.into()))
                .collect(),
            rate_hz: spec.rate_hz,
            max_steps: spec.max_steps as u64,
            action_low: spec.action_low.clone(),
            action_high: spec.action_high.clone(),
        }
    }
}

impl TryFrom<SpecReply> for EnvironmentSpec {
    type Error = BusError;

    fn try_from(body: SpecReply) -> Result<Self> {
        check_elements(body.features.len())?;
        check_elements(body.action_low.len().max(body.action_high.len()))?;
        check_secs("rate_hz", body.rate_hz)?;
        let features = body.features.into_iter();
        let spec = Self {
            name: body.name,
            protocol: body.protocol,
            features: Features(
                features
                    .map(|(key, feature)| Ok((key, feature.try_into()?)))
                    .collect::<Result<_>>()?,
            ),
            rate_hz: body.rate_hz,
            max_steps: usize::try_from(body.max_steps).unwrap_or(usize::MAX),
            action_low: body.action_low,
            action_high: body.action_high,
        };
        spec.check_bounds()?;
        Ok(spec)
    }
}
