//! Mutual TLS (RFC 8705): connections show the client certificate that the token is bound to.

mod source;

pub use self::source::{CertificateSource, Exchanged};
