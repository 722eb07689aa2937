//! Bounds of each method's requests. Knows nothing of how they are enforced.

use std::time::Duration;

use tonic_health::pb::health_server;

use super::transport::MethodBounds;
use crate::proto::admin_service_server;

/// Size of the largest message of all: one of an import.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Maximum size of other requests. The largest filter fits.
const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// Prefix of the reflection services, in all their versions.
const REFLECTION: &str = "grpc.reflection.";
/// Maximum age of a reflection stream. A client asks all that it needs within seconds.
const REFLECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// Maximum age of an import: time for some ten million payloads.
const IMPORT_AGE_MAX: Duration = Duration::from_secs(3600);

/// Returns the bounds of a method by its path, `/service/Method`.
pub(super) fn bounds(path: &str) -> MethodBounds {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let is_administrative = service == admin_service_server::SERVICE_NAME;
    let is_import = is_administrative && method == "ImportEvents";
    let is_reflection = service.starts_with(REFLECTION);
    MethodBounds {
        // Not imports: they take as much memory as they may, unlike the other methods of their service. Not watches of
        // the health: they would keep their place.
        is_reserved: is_administrative && !is_import || service == health_server::SERVICE_NAME && method == "Check",
        is_client_stream: is_import || is_reflection,
        age_max: if is_import { Some(IMPORT_AGE_MAX) } else { is_reflection.then_some(REFLECTION_AGE_MAX) },
        message_bytes: if is_import { MESSAGE_BYTES_MAX } else { REQUEST_BYTES_MAX },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserve_serves_status_and_checks_not_imports_and_watches() {
        let reserved = |path| bounds(path).is_reserved;
        assert!(reserved("/cleat.v1.AdminService/GetStatus") && reserved("/grpc.health.v1.Health/Check"));
        assert!(!reserved("/grpc.health.v1.Health/Watch") && !reserved("/grpc.reflection.v1.ServerReflection/Check"));
        assert!(!reserved("/cleat.v1.AdminService/ImportEvents") && !reserved("/cleat.v1.EventService/GetHead"));
        assert!(!reserved("") && !reserved("/cleat.v1.AdminServiceX/GetStatus"));
    }
}
