//! Which addresses may be connected to.
//!
//! A name that an attacker controls, or a resolver that lies, must not lead a credential or a request into the internal
//! network (RFC 9728 7.7). The judgement is made on the addresses that are about to be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// Globally routable unicast.
    Public,
    /// A network of one's own: 10/8, 172.16/12, 192.168/16, 100.64/10 (carrier-grade NAT), fc00::/7.
    Private,
    /// This machine: 127/8, ::1.
    Loopback,
    /// Anything else: unspecified, link-local (where cloud metadata services are), multicast, broadcast, documentation,
    /// benchmarking, reserved.
    Special,
}

/// How far `address` reaches. An IPv6 address that wraps an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) reaches
/// no further than what it wraps.
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [127, ..] => Reach::Loopback,
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Reach::Private,
        // "This network", link-local, protocol assignments, documentation, 6to4 relays, benchmarking, multicast, reserved.
        [0, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Reach::Special,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        reach_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Reach::Special,
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Loopback,
        // Mapped, compatible, SIIT, NAT64 with the well-known prefix.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // NAT64 with a prefix of one's own (RFC 8215).
        [0x64, 0xff9b, 1, ..] => Reach::Special,
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo: the server, and the client with its bits turned over. Both must be public.
        [0x2001, 0, server_high, server_low, _, _, high, low] => match (v4(server_high, server_low), v4(!high, !low)) {
            (Reach::Public, reach) | (reach, _) => reach,
        },
        // Protocol assignments (ORCHID, benchmarking and so on) and documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Special,
        [0xfc00..=0xfdff, ..] => Reach::Private,
        // Global unicast is 2000::/3 alone.
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zoo_of_literals() {
        let zoo = [
            (
                Reach::Public,
                "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 \
                 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.1 192.167.255.255 192.169.0.0 198.17.255.255 \
                 198.20.0.0 223.255.255.255 2606:4700::1111 2a00:1450:4001::200e 2001:4860:4860::8888 2001:200::1 \
                 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2001:0:808:808::f7f7:f7f7",
            ),
            (
                Reach::Private,
                "10.0.0.0 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.0 100.127.255.255 fc00:: \
                 fd12:3456:789a::1 fdff:ffff::1 ::ffff:10.0.0.1 ::10.0.0.1 64:ff9b::192.168.1.1 2002:a00:1::1 \
                 2001:0:808:808::f5ff:fffe 2001:0:a00:1::f7f7:f7f7",
            ),
            (
                Reach::Loopback,
                "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 ::ffff:0:127.0.0.1 ::127.0.0.1 64:ff9b::127.0.0.1 \
                 2002:7f00:1:: 2001:0:808:808::80ff:fffe",
            ),
            (
                Reach::Special,
                "0.0.0.0 0.1.2.3 169.254.0.1 169.254.169.254 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 \
                 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: fe80::1 febf::1 fec0::1 \
                 ff02::1 100::1 2001:db8::1 3fff::1 2001:2::1 2001:10::1 2001:20::1 ::ffff:169.254.169.254 ::ffff:0.0.0.0 \
                 ::169.254.169.254 64:ff9b::169.254.169.254 64:ff9b:1::1 2002:a9fe:a9fe::1 2001:0:808:808::5601:5601 4000::1 \
                 e000::1 64:ff9c::1",
            ),
        ];
        for (expected, addresses) in zoo {
            for address in addresses.split_whitespace() {
                assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
            }
        }
    }
}
