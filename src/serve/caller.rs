//! Who has opened a connection, as far as the system knows. Bounds are shared out by caller; rights are the
//! [`Principal`](super::principal::Principal)'s.

use std::net::{IpAddr, Ipv6Addr};

use tonic::Request;

use super::status::Refusal;

/// The bits of an IPv6 address that name a network: one host has as many addresses of it as it likes.
const NETWORK_BITS: u32 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// The user of the process on the other side of the unix socket.
    User(u32),
    /// An IPv6 address stands for its network.
    Address(IpAddr),
}

impl Caller {
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> NETWORK_BITS << NETWORK_BITS).into(),
            address @ IpAddr::V4(_) => address,
        })
    }

    /// The caller of a request: every connection sets it.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Refusal> {
        request.extensions().get().copied().ok_or(Refusal::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(address: &str) -> Caller {
        Caller::at(address.parse().unwrap())
    }

    #[test]
    fn an_ipv6_network_is_one_caller_and_a_mapped_address_is_ipv4() {
        assert_eq!(caller("2001:db8:1:2:3::4"), caller("2001:db8:1:2:ffff::1"));
        assert_ne!(caller("2001:db8:1:2::1"), caller("2001:db8:1:3::1"));
        assert_eq!(caller("::ffff:192.0.2.7"), caller("192.0.2.7"));
        assert_ne!(caller("192.0.2.7"), caller("192.0.2.8"));
    }
}
