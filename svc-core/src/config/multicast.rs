//! A range of multicast addresses.

use std::{fmt, net::Ipv4Addr, str::FromStr};

/// Addresses of IPv4 multicast, such as `239.255.42.0/24`; empty where there is no multicast.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MulticastRange(Option<(Ipv4Addr, u8)>);

/// It is no such range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMulticastRange;

impl MulticastRange {
    /// Whether it has no address.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Its addresses, from the first on.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (first, last) = match self.0 {
            Some((first, prefix)) => (first.to_bits(), first.to_bits() | host_bits(prefix)),
            None => (1, 0),
        };
        (first..=last).map(Ipv4Addr::from_bits)
    }
}

fn host_bits(prefix: u8) -> u32 {
    u32::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

impl FromStr for MulticastRange {
    type Err = NoMulticastRange;

    fn from_str(text: &str) -> Result<Self, NoMulticastRange> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let (first, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let first: Ipv4Addr = first.parse().map_err(|_| NoMulticastRange)?;
        let prefix: u8 = prefix.parse().map_err(|_| NoMulticastRange)?;
        let whole = (4..=32).contains(&prefix) && first.to_bits() & host_bits(prefix) == 0;
        if whole && first.is_multicast() {
            Ok(Self(Some((first, prefix))))
        } else {
            Err(NoMulticastRange)
        }
    }
}

impl fmt::Display for MulticastRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((first, prefix)) => write!(f, "{first}/{prefix}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_the_addresses_that_its_prefix_says() {
        for (text, shown, count, last) in [
            ("239.255.42.0/24", "239.255.42.0/24", 256, "239.255.42.255"),
            ("239.1.2.4/30", "239.1.2.4/30", 4, "239.1.2.7"),
            ("224.1.2.3", "224.1.2.3/32", 1, "224.1.2.3"),
            ("239.255.255.255/32", "239.255.255.255/32", 1, "239.255.255.255"),
        ] {
            let range: MulticastRange = text.parse().unwrap();
            assert_eq!((range.to_string().as_str(), range.is_empty()), (shown, false));
            assert_eq!(range.addresses().count(), count);
            assert_eq!(range.addresses().last(), last.parse().ok());
        }
        let none: MulticastRange = "".parse().unwrap();
        assert!(
            none.is_empty() && none.addresses().next().is_none() && none.to_string().is_empty()
        );
    }

    #[test]
    fn what_is_no_range_of_multicast_is_refused() {
        for text in [
            "10.0.0.0/8",
            "239.1.2.3/24",
            "224.0.0.0/3",
            "239.0.0.0/33",
            "239.0.0.0/",
            "x",
            "ff02::1",
        ] {
            assert_eq!(text.parse::<MulticastRange>(), Err(NoMulticastRange), "{text}");
        }
    }
}
