//! Secrets, each as a type of its own: redacted in `Debug`, wiped on drop, without `==`, `Display` or `Serialize`.
//!
//! What is wiped is our own copy. Copies that an HTTP stack, TLS or the kernel made are not.

use std::fmt;

use zeroize::Zeroizing;

macro_rules! secret_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(std::sync::Arc<Zeroizing<String>>);

        impl $name {
            /// Takes the text over; it is wiped when the last clone goes.
            pub fn new(text: impl Into<String>) -> Self {
                Self(std::sync::Arc::new(Zeroizing::new(text.into())))
            }

            /// The secret itself. Keep it out of logs, errors and anything that outlives the call.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

secret_text! {
    /// The password that a carrier gave to an application (RFC 6749 2.3.1).
    ClientSecret
}

secret_text! {
    /// A refresh token (RFC 6749 1.5).
    RefreshToken
}

secret_text! {
    /// A shipper's consent that is under way
    /// ([`PendingConsent`](crate::token::consent::PendingConsent)), as text.
    PendingText
}

secret_text! {
    /// A token that is exchanged for another (RFC 8693 2.1).
    SubjectToken
}

secret_text! {
    /// What a PKCS#12 file is encrypted with (RFC 7292).
    Passphrase
}

#[cfg(any(feature = "mtls", feature = "transit"))]
secret_text! {
    /// The token that a HashiCorp Vault or OpenBao server knows an application by (`X-Vault-Token`).
    VaultToken
}

#[cfg(feature = "pkcs11")]
secret_text! {
    /// The PIN with which the user of a PKCS#11 token logs in.
    TokenPin
}

/// Bytes of a private key on their way in or out: PEM, DER or JWK. Wiped on drop.
pub struct KeyMaterial(Zeroizing<Vec<u8>>);

impl KeyMaterial {
    /// Takes the bytes over.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves. Keep them out of logs, errors and anything that outlives the call.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaterial(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        assert_eq!(
            format!("{:?}", ClientSecret::new("hunter2-hunter2")),
            "ClientSecret(redacted)"
        );
        assert_eq!(
            format!("{:?}", RefreshToken::new("hunter2-hunter2")),
            "RefreshToken(redacted)"
        );
        #[cfg(any(feature = "mtls", feature = "transit"))]
        assert_eq!(
            format!("{:?}", VaultToken::new("hunter2-hunter2")),
            "VaultToken(redacted)"
        );
        #[cfg(feature = "pkcs11")]
        assert_eq!(format!("{:?}", TokenPin::new("hunter2-hunter2")), "TokenPin(redacted)");
        assert_eq!(
            format!("{:?}", KeyMaterial::new(*b"hunter2-hunter2")),
            "KeyMaterial(redacted)"
        );
    }
}
