//! The configurations of filters of a dump: those that discovery delivered.

use meltemi_xds::pb::envoy::admin::v3::{EcdsConfigDump, ecds_config_dump};

use super::{Parts, Wanted};
use crate::{AdminState, ConfigKind};

/// The dump of the configurations of filters.
pub(super) fn dump(state: &AdminState, wanted: &Wanted) -> EcdsConfigDump {
    let entries = state.config.entries(ConfigKind::Extension).into_iter();
    let wanted = entries.filter(|(name, _)| wanted.has(name));
    EcdsConfigDump {
        ecds_filters: wanted
            .map(|(_, entry)| {
                let Parts {
                    version,
                    resource,
                    updated,
                    failure,
                } = Parts::of(entry);
                ecds_config_dump::EcdsFilterConfig {
                    version_info: version,
                    ecds_filter: resource,
                    last_updated: updated,
                    error_state: failure,
                    ..ecds_config_dump::EcdsFilterConfig::default()
                }
            })
            .collect(),
    }
}
