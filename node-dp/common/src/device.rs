//! The devices that the fast path serves, values of `DEVICES` by a device's index.

use crate::next_hop::EthernetAddress;

const RETURNS: u8 = 1;
const TAKES: u8 = 2;
const IS_GENERIC: u8 = 4;

/// What the fast path must know of a device.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceValue {
    address: EthernetAddress,
    abilities: u8,
    _pad: u8,
}

const _: () = assert!(size_of::<DeviceValue>() == 8);

impl DeviceValue {
    /// A device with a hardware address, through which nothing can be sent.
    pub fn new(address: EthernetAddress) -> Self {
        Self {
            address,
            abilities: 0,
            _pad: 0,
        }
    }

    /// The same, sending back what came by it.
    #[must_use]
    pub fn returning(mut self) -> Self {
        self.abilities |= RETURNS;
        self
    }

    /// The same, taking what drivers of other devices hand it.
    #[must_use]
    pub fn taking(mut self) -> Self {
        self.abilities |= TAKES;
        self
    }

    /// The same, where the kernel runs the program in the driver's place: what came by it can go anywhere.
    #[must_use]
    pub fn generic(mut self) -> Self {
        self.abilities |= IS_GENERIC;
        self
    }

    /// Its hardware address.
    #[inline(always)]
    pub fn address(&self) -> EthernetAddress {
        self.address
    }

    /// Whether it sends back what came by it.
    #[inline(always)]
    pub fn returns(&self) -> bool {
        self.abilities & RETURNS != 0
    }

    /// Whether what came by it can leave by another device.
    #[inline(always)]
    pub fn reaches(&self, other: &Self) -> bool {
        self.abilities & IS_GENERIC != 0 || other.abilities & TAKES != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: EthernetAddress = [2, 0, 0, 0, 0, 1];

    #[test]
    fn a_driver_hands_packets_only_to_devices_that_take_them() {
        let device = DeviceValue::new(PLAIN);

        assert!(!device.reaches(&device));
        assert!(device.reaches(&device.taking()));
        assert!(!device.taking().reaches(&device));
        assert!(device.generic().reaches(&device));
    }

    #[test]
    fn to_send_back_is_an_ability_of_its_own() {
        assert!(!DeviceValue::new(PLAIN).taking().generic().returns());
        assert!(DeviceValue::new(PLAIN).returning().returns());
    }
}
