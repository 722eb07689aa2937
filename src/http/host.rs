//! The kind of host that a request names. By it, loopback ports refuse a web page that reaches them under its own name.
//! Knows no port.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri};

/// The kind of host, by the request's target, or else by its `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    Missing,
    /// `localhost` or a loopback address.
    Loopback,
    /// Any other address.
    Address,
    /// Any other name, and anything that cannot be read as one host.
    Name,
}

impl HostKind {
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        if let Some(host) = uri.host() {
            return Self::of_host(host);
        }
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (None, _) => Self::Missing,
            (Some(_), Some(_)) => Self::Name,
            (Some(host), None) => Self::of_header(host),
        }
    }

    fn of_header(host: &HeaderValue) -> Self {
        let Ok(host) = host.to_str() else { return Self::Name };
        match host.parse::<Authority>() {
            Ok(authority) => Self::of_host(authority.host()),
            Err(_) => Self::Name,
        }
    }

    fn of_host(host: &str) -> Self {
        // An IPv6 address is in brackets.
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(address) if address.to_canonical().is_loopback() => Self::Loopback,
            Ok(_) => Self::Address,
            Err(_) if host.eq_ignore_ascii_case("localhost") => Self::Loopback,
            Err(_) => Self::Name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(uri: &'static str, hosts: &[&'static str]) -> HostKind {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        HostKind::of(&Uri::from_static(uri), &headers)
    }

    #[test]
    fn a_host_is_loopback_an_address_or_a_name() {
        for host in ["localhost", "LOCALHOST:7480", "127.0.0.1", "127.8.9.1:1", "[::1]:7480", "[::ffff:127.0.0.1]"] {
            assert_eq!(kind("/", &[host]), HostKind::Loopback, "{host}");
        }
        for host in ["10.0.0.1", "[2001:db8::1]:80", "0.0.0.0"] {
            assert_eq!(kind("/", &[host]), HostKind::Address, "{host}");
        }
        for host in ["example.org", "localhost.example.org", "127.0.0.1.example.org", "a b", "", "localhost@evil.org"] {
            assert_eq!(kind("/", &[host]), HostKind::Name, "{host}");
        }
    }

    #[test]
    fn a_target_with_a_host_counts_before_the_header() {
        assert_eq!(kind("http://example.org/metrics", &["localhost"]), HostKind::Name);
        assert_eq!(kind("http://127.0.0.1:7482/metrics", &["example.org"]), HostKind::Loopback);
    }

    #[test]
    fn a_missing_host_is_missing_and_a_repeated_one_a_name() {
        assert_eq!(kind("/", &[]), HostKind::Missing);
        assert_eq!(kind("/", &["localhost", "localhost"]), HostKind::Name);
    }
}
