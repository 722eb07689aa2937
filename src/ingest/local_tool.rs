//! Judges whether a request can come from one of cleat's own tools on this machine. Only then the published development
//! secret counts: anyone can sign with it, so any sign of a remote origin excludes it.

use std::net::SocketAddr;

use hyper::http::request::Parts;
use hyper::{HeaderMap, Version};

use crate::http::HostKind;

/// Prefix of the webhook-ids of cleat's own tools. Fasten's begin differently. README and `config.toml` document it.
pub const LOCAL_TOOL_MARK: &str = "dev_";

/// Headers that proxies, tunnels and load balancers add: names, prefixes and suffixes. docs/operations.md lists them.
const FORWARDING_NAMES: [&str; 9] = [
    "forwarded",
    "via",
    "cdn-loop",
    "x-real-ip",
    "x-proxyuser-ip",
    "x-cloud-trace-context",
    "x-request-start",
    "x-varnish",
    "proxy-connection",
];
const FORWARDING_PREFIXES: [&str; 13] = [
    "x-forwarded",
    "x-original-",
    "x-envoy-",
    "x-amzn-",
    "x-amz-",
    "x-azure-",
    "x-arr-",
    "x-appengine-",
    "x-vercel-",
    "cf-",
    "fastly-",
    "fly-",
    "tailscale-",
];
const FORWARDING_SUFFIXES: [&str; 2] = ["-client-ip", "-clientip"];

/// Whether a loopback peer asks for a loopback host in HTTP/1.1, directly, with a marked webhook-id.
pub(super) fn is_local_tool(webhook_id: &str, parts: &Parts, peer: SocketAddr) -> bool {
    webhook_id.starts_with(LOCAL_TOOL_MARK)
        && peer.ip().to_canonical().is_loopback()
        && parts.version == Version::HTTP_11
        && HostKind::of(&parts.uri, &parts.headers) == HostKind::Loopback
        && !is_forwarded(&parts.headers)
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().map(hyper::header::HeaderName::as_str).any(|name| {
        FORWARDING_NAMES.contains(&name)
            || FORWARDING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || FORWARDING_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
    })
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    const LOOPBACK: &str = "127.0.0.1:50000";

    fn request() -> hyper::http::request::Builder {
        Request::post("/webhooks/fasten").header("host", "127.0.0.1:7480").header("user-agent", "curl/8")
    }

    fn taken(id: &str, request: hyper::http::request::Builder, peer: &str) -> bool {
        is_local_tool(id, &request.body(()).unwrap().into_parts().0, peer.parse().unwrap())
    }

    #[test]
    fn a_marked_id_from_loopback_to_loopback_is_a_local_tool() {
        assert!(taken("dev_1", request(), LOOPBACK));
        assert!(taken("dev_1", request(), "[::1]:50000"));
        assert!(taken("dev_1", request(), "[::ffff:127.0.0.1]:50000"));
    }

    #[test]
    fn another_id_peer_host_or_version_is_no_local_tool() {
        for id in ["msg_1", "DEV_1", "xdev_1"] {
            assert!(!taken(id, request(), LOOPBACK), "{id}");
        }
        assert!(!taken("dev_1", request(), "10.0.0.1:50000"));
        assert!(!taken("dev_1", request().header("host", "localhost"), LOOPBACK), "two hosts");
        assert!(!taken("dev_1", Request::post("/webhooks/fasten").header("host", "rebound.example"), LOOPBACK));
        assert!(!taken("dev_1", Request::post("/webhooks/fasten"), LOOPBACK));
        assert!(!taken("dev_1", request().version(Version::HTTP_10), LOOPBACK));
    }

    #[test]
    fn a_header_of_any_known_proxy_is_noticed() {
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "Via",
            "X-Real-IP",
            "True-Client-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "CF-Connecting-IP",
            "CF-Ray",
            "X-Envoy-External-Address",
            "X-Amzn-Trace-Id",
            "X-Azure-ClientIP",
            "X-Original-Host",
            "Fly-Region",
            "CDN-Loop",
        ] {
            assert!(!taken("dev_1", request().header(name, "x"), LOOPBACK), "{name}");
        }
        assert!(taken("dev_1", request().header("x-forward", "x").header("traceparent", "x"), LOOPBACK));
    }
}
