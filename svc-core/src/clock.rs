//! The clocks of the system, which nothing below the services may read.

use std::time::SystemTime;

use media::NtpTime;

/// The wall clock; what it says before 1970 is 1970.
pub fn wall_clock() -> NtpTime {
    NtpTime::from_unix(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
