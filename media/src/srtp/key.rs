//! The master key as SDP carries it (RFC 4568), and the session keys that are derived from it (RFC 3711, 4.3; RFC 7714, 11).

use std::fmt;

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use ring::aead::{AES_128_GCM, LessSafeKey, UnboundKey};

/// The name of the suite (RFC 7714, 14.2).
pub const SUITE: &str = "AEAD_AES_128_GCM";

const KEY_BYTES: usize = 16;
pub(super) const SALT_BYTES: usize = 12;
/// The salt of the pseudo-random function, of which ours is the beginning (RFC 7714, 11).
const PRF_SALT_BYTES: usize = 14;

/// A master key and its salt. Shown nowhere: it has no `Display`, and `Debug` says that it is one.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    key: [u8; KEY_BYTES],
    salt: [u8; SALT_BYTES],
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// Why an `a=crypto` cannot be used. Says nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// It does not read as RFC 4568, 9.1 has it.
    #[error("a=crypto is not \"<tag> <suite> inline:<key>\"")]
    Syntax,
    /// Another suite.
    #[error("a=crypto of another suite; {SUITE} is carried")]
    Suite,
    /// The key is not of the suite's size.
    #[error("the key of a=crypto is not {} bytes in base64", MasterKey::BYTES)]
    Size,
    /// A master key identifier, or session parameters other than a window size.
    #[error("a=crypto with a master key identifier or session parameters, which are not carried")]
    Parameters,
}

impl MasterKey {
    /// Key and salt.
    pub const BYTES: usize = KEY_BYTES + SALT_BYTES;

    /// The key and behind it the salt, which are random and used nowhere else.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        let (mut key, mut salt) = ([0; KEY_BYTES], [0; SALT_BYTES]);
        key.copy_from_slice(&bytes[..KEY_BYTES]);
        salt.copy_from_slice(&bytes[KEY_BYTES..]);
        Self { key, salt }
    }

    /// Reads the value of an `a=crypto` (RFC 4568, 9.1). A lifetime and a window size are passed over.
    pub fn from_attribute(value: &str) -> Result<Self, KeyError> {
        let mut words = value.split_ascii_whitespace();
        let (Some(_tag), Some(suite), Some(key)) = (words.next(), words.next(), words.next())
        else {
            return Err(KeyError::Syntax);
        };
        if !suite.eq_ignore_ascii_case(SUITE) {
            return Err(KeyError::Suite);
        }
        if words.any(|parameter| !parameter.starts_with("WSH=")) {
            return Err(KeyError::Parameters);
        }
        let mut parts = key.strip_prefix("inline:").ok_or(KeyError::Syntax)?.split('|');
        let key = parts.next().unwrap_or_default();
        // An identifier is `number:length`.
        if parts.any(|part| part.contains(':')) {
            return Err(KeyError::Parameters);
        }
        let bytes = BASE64_STANDARD.decode(key).or_else(|_| BASE64_STANDARD_NO_PAD.decode(key));
        let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self::new).ok_or(KeyError::Size)
    }

    /// The value of an `a=crypto` that [`Self::from_attribute`] reads.
    pub fn to_attribute(&self) -> String {
        let bytes = [&self.key[..], &self.salt].concat();
        format!("1 {SUITE} inline:{}", BASE64_STANDARD.encode(bytes))
    }

    /// The session keys of SRTP and of SRTCP; labels of RFC 3711, 4.3.2.
    pub(super) fn derive(&self) -> (SessionKey, SessionKey) {
        let mut salt = [0; PRF_SALT_BYTES];
        salt[..SALT_BYTES].copy_from_slice(&self.salt);
        let aes = Aes128::new(&self.key.into());
        let session_key = |key_label, salt_label| {
            let mut session_salt = [0; SALT_BYTES];
            session_salt.copy_from_slice(&block(&aes, &salt, salt_label)[..SALT_BYTES]);
            SessionKey::new(block(&aes, &salt, key_label), session_salt)
        };
        (session_key(0, 2), session_key(3, 5))
    }
}

/// The first block of AES_CM's key stream for a label (RFC 3711, 4.3.1 and 4.3.3): the label stands before the 48 bits of r, which is 0, and
/// both at the end of the salt; a counter of 16 bits follows.
fn block(aes: &Aes128, salt: &[u8; PRF_SALT_BYTES], label: u8) -> [u8; 16] {
    let mut block = [0; 16];
    block[..PRF_SALT_BYTES].copy_from_slice(salt);
    block[7] ^= label;
    let mut block = block.into();
    aes.encrypt_block(&mut block);
    block.into()
}

/// The key that packets of one protocol are sealed with, and the salt of their nonces.
pub(super) struct SessionKey {
    pub(super) key: Option<LessSafeKey>,
    pub(super) salt: [u8; SALT_BYTES],
}

impl SessionKey {
    pub(super) fn new(key: [u8; KEY_BYTES], salt: [u8; SALT_BYTES]) -> Self {
        // It fails for keys of another size only.
        let key = UnboundKey::new(&AES_128_GCM, &key).ok().map(LessSafeKey::new);
        Self { key, salt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
        let bytes: Vec<_> =
            text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
        bytes.try_into().unwrap()
    }

    /// RFC 3711, B.3.
    #[test]
    fn session_keys_are_derived_as_in_rfc_3711() {
        let aes = Aes128::new(&hex::<16>("E1F97A0D3E018BE0D64FA32C06DE4139").into());
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        assert_eq!(block(&aes, &salt, 0), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        let salt: [u8; 14] = block(&aes, &salt, 2)[..14].try_into().unwrap();
        assert_eq!(salt, hex("30CBBC08863D8C85D49DB34A9AE1"));
    }

    #[test]
    fn a_key_is_read_as_it_was_written_and_shown_by_nothing() {
        let key = MasterKey::new(std::array::from_fn(|n| n as u8));
        let attribute = key.to_attribute();
        assert_eq!(attribute, "1 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==");
        assert_eq!(MasterKey::from_attribute(&attribute), Ok(key.clone()));
        let bare = attribute.trim_end_matches('=');
        assert_eq!(MasterKey::from_attribute(bare), Ok(key.clone()));
        let lifetime = format!("{attribute}|2^20 WSH=64");
        assert_eq!(MasterKey::from_attribute(&lifetime), Ok(key.clone()));
        assert_eq!(format!("{key:?}"), "MasterKey(..)");
    }

    #[test]
    fn what_cannot_be_used_is_told_without_the_key() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==";
        for (attribute, error) in [
            (String::new(), KeyError::Syntax),
            (format!("1 {SUITE} uri:{key}"), KeyError::Syntax),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}"), KeyError::Suite),
            (format!("1 {SUITE} inline:{}", &key[4..]), KeyError::Size),
            (format!("1 {SUITE} inline:{key}|1:4"), KeyError::Parameters),
            (format!("1 {SUITE} inline:{key} UNENCRYPTED_SRTCP"), KeyError::Parameters),
        ] {
            assert_eq!(MasterKey::from_attribute(&attribute), Err(error), "{attribute}");
            assert!(!error.to_string().contains("AAECAw"), "{error}");
        }
    }
}
