//! The bytes of a signature.

use std::fmt;

/// A signature as JWS wants it: 64 octets for ES256 (R and S, RFC 7518 3.4) and Ed25519 (RFC 8037), as many as the modulus
/// has for PS256 and RS256.
///
/// The short ones live inline: making one allocates nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(Octets);

#[derive(Clone, PartialEq, Eq)]
enum Octets {
    Short([u8; 64]),
    Long(Box<[u8]>),
}

impl Signature {
    /// The signature's octets.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Octets::Short(octets) => octets,
            Octets::Long(octets) => octets,
        }
    }
}

impl From<[u8; 64]> for Signature {
    fn from(octets: [u8; 64]) -> Self {
        Self(Octets::Short(octets))
    }
}

impl From<&[u8]> for Signature {
    fn from(octets: &[u8]) -> Self {
        match <[u8; 64]>::try_from(octets) {
            Ok(short) => Self(Octets::Short(short)),
            Err(_) => Self(Octets::Long(octets.into())),
        }
    }
}

impl From<Vec<u8>> for Signature {
    fn from(octets: Vec<u8>) -> Self {
        match <[u8; 64]>::try_from(octets.as_slice()) {
            Ok(short) => Self(Octets::Short(short)),
            Err(_) => Self(Octets::Long(octets.into_boxed_slice())),
        }
    }
}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Signature {
    /// The length only: a signature in a log is half of a proof.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({} octets)", self.as_bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_come_back_as_they_went_in_and_stay_out_of_debug() {
        let short = Signature::from([0xab; 64]);
        assert_eq!(short.as_bytes(), [0xab; 64]);
        assert_eq!(short, Signature::from(&[0xab; 64][..]));
        let long = Signature::from(vec![0xcd; 512]);
        assert_eq!(long.as_bytes(), [0xcd; 512]);
        assert_eq!(
            format!("{short:?} {long:?}"),
            "Signature(64 octets) Signature(512 octets)"
        );
    }
}
