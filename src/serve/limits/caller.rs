//! The peer that opened a connection, as far as the system knows it. Bounds are shared out by caller. Knows nothing of
//! rights: these belong to the [`Principal`](crate::serve::principal::Principal).

use std::net::{IpAddr, Ipv6Addr};

use tonic::Request;

use crate::serve::refusal::Refusal;

/// Network bits of an IPv6 address. One host may use any number of addresses within its network.
const NETWORK_BITS: u32 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// User of the process at the other end of the unix socket.
    User(u32),
    /// Remote address. An IPv6 address is reduced to its network.
    Address(IpAddr),
}

impl Caller {
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> NETWORK_BITS << NETWORK_BITS).into(),
            address @ IpAddr::V4(_) => address,
        })
    }

    /// Returns the caller of a request. Every connection sets it.
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
