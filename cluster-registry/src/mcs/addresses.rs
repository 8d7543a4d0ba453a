//! Hands out the addresses of imports from configured pools, where no API server does.
//!
//! An address is a hash of the service's name and, if that one is taken, the next free one: the same name has the same
//! address after a restart and, with equal pools, usually in every cluster. Once given, it stays for the import's life.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use crate::{
    name::ServiceName,
    traffic::{IpFamilies, IpFamily},
};

/// Why a range cannot be a pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It has no address between its first and its last.
    #[error("{0} has no addresses to hand out: give a range of at least four")]
    TooSmall(IpNet),
    /// Two ranges share addresses.
    #[error("{0} and {1} overlap: give each address once")]
    Overlap(IpNet, IpNet),
}

/// Why an import has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// No pool has a family of the import's.
    #[error("no pool has addresses of the families {0}: configure one")]
    NoPool(IpFamilies),
    /// Every address of the family is taken.
    #[error("all {0} addresses of the pools are taken: add a pool")]
    Exhausted(IpFamily),
}

impl AllocationError {
    /// A short constant name, for metrics and status.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoPool(_) => "no_pool",
            Self::Exhausted(_) => "pool_exhausted",
        }
    }
}

/// The pools, and which import has which of their addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allocator {
    pools: Vec<IpNet>,
    holder_by_ip: BTreeMap<IpAddr, ServiceName>,
    ips_by_holder: BTreeMap<ServiceName, Vec<IpAddr>>,
}

impl Allocator {
    /// An allocator of these ranges; a family's first pool is used up before its second.
    pub fn try_new(pools: impl IntoIterator<Item = IpNet>) -> Result<Self, PoolError> {
        let mut taken: Vec<IpNet> = Vec::new();
        for pool in pools {
            let pool = pool.trunc();
            if size(&pool) == 0 {
                return Err(PoolError::TooSmall(pool));
            }
            let other = taken
                .iter()
                .find(|t| t.contains(&pool) || pool.contains(*t));
            if let Some(other) = other {
                return Err(PoolError::Overlap(*other, pool));
            }
            taken.push(pool);
        }
        Ok(Self {
            pools: taken,
            ..Self::default()
        })
    }

    /// The ranges, in the order in which they are used up.
    pub fn pools(&self) -> &[IpNet] {
        &self.pools
    }

    /// The import's addresses, in the order of its families; those that it has stay.
    ///
    /// A family that no pool has is left out, unless that leaves none.
    pub fn assign(
        &mut self,
        name: &ServiceName,
        families: IpFamilies,
    ) -> Result<Vec<IpAddr>, AllocationError> {
        let mut wanted: Vec<IpFamily> = families.iter().collect();
        if wanted.is_empty() {
            // A definition without families is served in all that there are.
            wanted = vec![IpFamily::V4, IpFamily::V6];
        }
        wanted.retain(|family| self.pools_of(*family).next().is_some());
        if wanted.is_empty() {
            return Err(AllocationError::NoPool(families));
        }
        let held = self.ips_by_holder.get(name).cloned().unwrap_or_default();
        let mut ips = Vec::new();
        for family in wanted {
            let old = held.iter().copied().find(|ip| IpFamily::of(*ip) == family);
            let ip = old.or_else(|| self.free(name, family));
            ips.push(ip.ok_or(AllocationError::Exhausted(family))?);
        }
        self.hold(name, ips.clone());
        Ok(ips)
    }

    /// Takes addresses that an import had in an earlier life; those of no pool, and those of others, are left out.
    pub fn adopt(&mut self, name: &ServiceName, ips: &[IpAddr]) -> Vec<IpAddr> {
        let mut kept: Vec<IpAddr> = Vec::new();
        for ip in ips {
            let is_second = kept.iter().any(|k| IpFamily::of(*k) == IpFamily::of(*ip));
            let is_free = self
                .holder_by_ip
                .get(ip)
                .is_none_or(|holder| holder == name);
            if !is_second && is_free && self.pools.iter().any(|pool| is_usable(pool, *ip)) {
                kept.push(*ip);
            }
        }
        self.hold(name, kept.clone());
        kept
    }

    /// Takes the addresses back from an import that is gone.
    pub fn release(&mut self, name: &ServiceName) {
        self.hold(name, Vec::new());
    }

    /// Which imports have addresses.
    pub fn holders(&self) -> impl Iterator<Item = (&ServiceName, &[IpAddr])> {
        let holders = self.ips_by_holder.iter();
        holders.map(|(name, ips)| (name, ips.as_slice()))
    }

    /// Whether the import has addresses.
    pub fn is_holder(&self, name: &ServiceName) -> bool {
        self.ips_by_holder.contains_key(name)
    }

    fn hold(&mut self, name: &ServiceName, ips: Vec<IpAddr>) {
        for old in self.ips_by_holder.remove(name).unwrap_or_default() {
            self.holder_by_ip.remove(&old);
        }
        for ip in &ips {
            self.holder_by_ip.insert(*ip, name.clone());
        }
        if !ips.is_empty() {
            self.ips_by_holder.insert(name.clone(), ips);
        }
    }

    fn pools_of(&self, family: IpFamily) -> impl Iterator<Item = &IpNet> {
        let is_of = move |pool: &&IpNet| IpFamily::of(pool.addr()) == family;
        self.pools.iter().filter(is_of)
    }

    fn free(&self, name: &ServiceName, family: IpFamily) -> Option<IpAddr> {
        let start = hash(name);
        self.pools_of(family).find_map(|pool| {
            let size = size(pool);
            let range = nth(pool, 0)..=nth(pool, size - 1);
            let taken = self.holder_by_ip.range(range).count();
            if u128::try_from(taken).is_ok_and(|taken| taken >= size) {
                return None;
            }
            let first = u128::from(start) % size;
            // More steps than there are taken addresses cannot all meet one.
            (0..=taken)
                .filter_map(|step| u128::try_from(step).ok())
                .map(|step| nth(pool, (first + step) % size))
                .find(|ip| !self.holder_by_ip.contains_key(ip))
        })
    }
}

/// How many addresses there are between a range's first and last, which have other meanings in some networks.
fn size(pool: &IpNet) -> u128 {
    let host_bits = u32::from(pool.max_prefix_len() - pool.prefix_len());
    let all = 1u128.checked_shl(host_bits).unwrap_or(u128::MAX);
    all.saturating_sub(2)
}

/// The address at an offset below [`size`].
fn nth(pool: &IpNet, offset: u128) -> IpAddr {
    match pool.network() {
        IpAddr::V4(first) => {
            let offset = u32::try_from(offset + 1).unwrap_or(u32::MAX);
            IpAddr::V4(Ipv4Addr::from_bits(first.to_bits().saturating_add(offset)))
        }
        IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(
            first.to_bits().saturating_add(offset + 1),
        )),
    }
}

fn is_usable(pool: &IpNet, ip: IpAddr) -> bool {
    pool.contains(&ip) && ip != pool.network() && ip != pool.broadcast()
}

/// FNV-1a, 64 bits: the same everywhere and for ever, which the standard library's hasher does not promise.
fn hash(name: &ServiceName) -> u64 {
    let bytes = name.namespace.as_str().bytes();
    let bytes = bytes.chain([b'/']).chain(name.name.as_str().bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
