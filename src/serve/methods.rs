//! What each method allows its requests.

use tonic_health::pb::health_server;

use super::transport::MethodBounds;
use crate::proto::admin_service_server;

/// The largest message of all: of an import.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The largest filter fits.
const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// The reflection services' prefix, of all their versions.
const REFLECTION: &str = "grpc.reflection.";

/// Of a path as `/service/Method`.
pub(super) fn bounds(path: &str) -> MethodBounds {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let is_import = service == admin_service_server::SERVICE_NAME && method == "ImportEvents";
    let is_administrative = [admin_service_server::SERVICE_NAME, health_server::SERVICE_NAME].contains(&service);
    MethodBounds {
        // An import takes what memory it may, as no other method of its service does.
        is_reserved: is_administrative && !is_import,
        is_client_stream: is_import || service.starts_with(REFLECTION),
        message_bytes: if is_import { MESSAGE_BYTES_MAX } else { REQUEST_BYTES_MAX },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_for_status_and_health_and_not_for_imports() {
        let reserved = |path| bounds(path).is_reserved;
        assert!(reserved("/cleat.v1.AdminService/GetStatus") && reserved("/grpc.health.v1.Health/Check"));
        assert!(!reserved("/cleat.v1.AdminService/ImportEvents") && !reserved("/cleat.v1.EventService/GetHead"));
        assert!(!reserved("") && !reserved("/cleat.v1.AdminServiceX/GetStatus"));
    }
}
