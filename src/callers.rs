//! Callers, the keys of rate limits: an address, and the networks that contain it. One party may own such a network.
//!
//! A limit per address does not limit a party that owns a network of addresses. So every limit counts at three [`Tier`]s,
//! each with a larger allowance than the one before, and a caller must be within all of them. An IPv6 address that embeds an
//! IPv4 address is treated as that address.

pub mod allowance;

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// How wide a group of addresses is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// One IPv4 address, or an IPv6 /64, which a single subscriber has at least (RFC 6177 §2).
    Address,
    /// An IPv6 /56, which a home or a small office often gets. IPv4 has no equivalent.
    Site,
    /// An IPv6 /48 or an IPv4 /24, usually the largest network of one customer.
    Network,
}

impl Tier {
    /// All tiers, the narrowest first.
    pub const ALL: [Self; 3] = [Self::Address, Self::Site, Self::Network];

    /// Returns the allowance of the whole group, as a multiple of an address's allowance. It is much less than the number of
    /// addresses: few of them are busy at the same time, unless they all belong to one party.
    #[must_use]
    pub const fn factor(self) -> u32 {
        match self {
            Self::Address => 1,
            Self::Site => 4,
            Self::Network => 16,
        }
    }
}

/// A caller: the narrowest group of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller(IpAddr);

impl Caller {
    /// Returns the caller to which an address belongs.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => embedded_ipv4(v6).map_or_else(|| first_bits(v6, 64), IpAddr::V4),
        })
    }

    /// Returns the groups of the caller, the narrowest first; each by its first address.
    pub fn groups(self) -> impl Iterator<Item = (Tier, IpAddr)> {
        Tier::ALL.into_iter().filter_map(move |tier| {
            let group = match (tier, self.0) {
                (Tier::Address, address) => address,
                (Tier::Site, IpAddr::V4(_)) => return None,
                (Tier::Site, IpAddr::V6(v6)) => first_bits(v6, 56),
                (Tier::Network, IpAddr::V4(v4)) => IpAddr::V4((u32::from(v4) & (u32::MAX << 8)).into()),
                (Tier::Network, IpAddr::V6(v6)) => first_bits(v6, 48),
            };
            Some((tier, group))
        })
    }
}

fn first_bits(address: Ipv6Addr, bits: u32) -> IpAddr {
    IpAddr::V6((u128::from(address) & (u128::MAX << (128 - bits))).into())
}

/// Returns the IPv4 address that an IPv6 address embeds. The owner of such an address controls a /64 or some of its bits. If
/// these addresses counted separately, one caller would become many.
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = u128::from(address);
    #[expect(clippy::cast_possible_truncation, reason = "the lower 32 bits are meant")]
    let lower = |bits: u128| Ipv4Addr::from(bits as u32);
    match address.segments() {
        // IPv4-mapped (RFC 4291 §2.5.5.2), and NAT64's well-known prefix (RFC 6052 §2.1).
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(lower(bits)),
        // 6to4 (RFC 3056 §2): the address follows the first 16 bits and owns a /48.
        [0x2002, ..] => Some(lower(bits >> 80)),
        // Teredo (RFC 4380 §4): the address is inverted at the end; its owner chooses the bits before it.
        [0x2001, 0, ..] => Some(lower(!bits)),
        _ => None,
    }
}

/// Counts the resources that each caller holds, at every tier.
#[derive(Debug, Default)]
pub struct CallerCounts {
    tiers: [HashMap<IpAddr, u32>; Tier::ALL.len()],
}

impl CallerCounts {
    /// Returns the first tier at which the caller may hold no more, if an address may hold `per_address`.
    #[must_use]
    pub fn first_full_tier(&self, caller: Caller, per_address: usize) -> Option<Tier> {
        self.first_full_tier_within(caller, per_address, usize::MAX)
    }

    /// Like [`Self::first_full_tier`], but caps each group at `share`, or at `per_address` if that is larger.
    #[must_use]
    pub fn first_full_tier_within(&self, caller: Caller, per_address: usize, share: usize) -> Option<Tier> {
        caller.groups().find_map(|(tier, group)| {
            let held = self.tiers[tier as usize].get(&group).map_or(0, |&count| count as usize);
            let allowed = per_address.saturating_mul(tier.factor() as usize).min(share.max(per_address));
            (held >= allowed).then_some(tier)
        })
    }

    /// Adds one.
    pub fn add(&mut self, caller: Caller) {
        for (tier, group) in caller.groups() {
            *self.tiers[tier as usize].entry(group).or_default() += 1;
        }
    }

    /// Subtracts one, and removes groups that reach zero.
    pub fn remove(&mut self, caller: Caller) {
        for (tier, group) in caller.groups() {
            let groups = &mut self.tiers[tier as usize];
            if let Some(count) = groups.get_mut(&group) {
                *count -= 1;
                if *count == 0 {
                    groups.remove(&group);
                    shrink_after_peak(groups);
                }
            }
        }
    }

    /// Returns whether no caller holds anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tiers.iter().all(HashMap::is_empty)
    }

    /// Returns the tables' capacity in groups, which determines the memory used.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.tiers.iter().map(HashMap::capacity).max().unwrap_or(0)
    }
}

/// Returns whether a TCP peer is a trusted proxy: one of these networks contains it.
#[must_use]
pub fn is_trusted_proxy(networks: &[IpNet], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    networks.iter().any(|network| network.contains(&peer))
}

/// A table with a capacity of this many entries or fewer is not shrunk.
pub(crate) const SMALL: usize = 1024;

/// Frees memory after a peak.
pub(crate) fn shrink_after_peak<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > SMALL && table.len() < table.capacity() / 8 {
        table.shrink_to(table.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn caller(text: &str) -> Caller {
        Caller::of(text.parse().unwrap())
    }

    fn groups(text: &str) -> Vec<String> {
        caller(text).groups().map(|(_, group)| group.to_string()).collect()
    }

    #[test]
    fn an_address_is_in_its_networks() {
        assert_eq!(groups("2001:db8:1:2ff:3:4:5:6"), ["2001:db8:1:2ff::", "2001:db8:1:200::", "2001:db8:1::"]);
        assert_eq!(groups("192.0.2.77"), ["192.0.2.77", "192.0.2.0"]);
    }

    #[test]
    fn an_ipv6_network_is_one_caller() {
        assert_eq!(caller("2001:db8:1:2:3:4:5:6"), caller("2001:db8:1:2::"));
        assert_ne!(caller("2001:db8:1:2::"), caller("2001:db8:1:3::"));
        assert_ne!(caller("192.0.2.1"), caller("192.0.2.2"));
    }

    #[test]
    fn an_embedded_ipv4_address_is_the_same_caller() {
        for other in [
            "::ffff:192.0.2.1",
            "2002:c000:201::1",
            "2002:c000:201:ffff:1:2:3:4",
            "64:ff9b::192.0.2.1",
            "2001:0:4136:e378:8000:63bf:3fff:fdfe",
            "2001::3fff:fdfe",
        ] {
            assert_eq!(caller(other), caller("192.0.2.1"), "{other}");
        }
        // Addresses under 2001::/16 that are not Teredo.
        assert_ne!(caller("2001:1::3fff:fdfe"), caller("192.0.2.1"));
    }

    #[test]
    fn a_network_is_bounded_and_can_release() {
        let mut counts = CallerCounts::default();
        let host = |number: u32| Caller::of(Ipv4Addr::from(0xc000_0000 + number / 200 * 256 + number % 200).into());
        for number in 0..32 {
            assert_eq!(counts.first_full_tier(host(number), 2), None, "{number}");
            counts.add(host(number));
        }
        assert_eq!(counts.first_full_tier(host(33), 2), Some(Tier::Network));
        assert_eq!(counts.first_full_tier(host(200), 2), None, "another network");
        assert_eq!(counts.first_full_tier_within(host(33), 20, 32), Some(Tier::Network), "its share of all");
        assert_eq!(counts.first_full_tier_within(host(33), 20, 33), None);
        counts.remove(host(0));
        counts.add(host(1));
        assert_eq!(counts.first_full_tier(host(1), 2), Some(Tier::Address));
        for number in 1..32 {
            counts.remove(host(number));
        }
        counts.remove(host(1));
        assert!(counts.is_empty());
    }

    proptest! {
        #[test]
        fn wider_groups_hold_narrower_ones_whole(bits: u128, others: u64) {
            let one: Vec<_> = Caller::of(Ipv6Addr::from(bits).into()).groups().collect();
            for (tier, group) in &one {
                // The group's first address belongs to the same wider groups.
                let again: Vec<_> = Caller::of(*group).groups().skip_while(|(other, _)| other != tier).collect();
                let from_there: Vec<_> = one.iter().copied().skip_while(|(other, _)| other != tier).collect();
                if embedded_ipv4(Ipv6Addr::from(bits)).is_none() {
                    prop_assert_eq!(again, from_there);
                }
            }
            if embedded_ipv4(Ipv6Addr::from(bits)).is_none() && bits >> 64 != 0 {
                let neighbour = Ipv6Addr::from((bits & (u128::MAX << 64)) | u128::from(others));
                if embedded_ipv4(neighbour).is_none() {
                    prop_assert_eq!(Caller::of(neighbour.into()), Caller::of(Ipv6Addr::from(bits).into()));
                }
            }
        }
    }
}
