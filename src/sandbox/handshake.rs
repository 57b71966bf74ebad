//! Which TLS connections were made, and with which client certificates.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};

use super::Sandbox;
use crate::jose::Thumbprint;
use crate::transport::reqwest::TlsVersion;

/// How many handshakes are kept; the oldest goes first.
const KEPT: usize = 65_536;

/// A TLS handshake that was completed, whether or not requests followed.
#[derive(Clone, Debug)]
pub struct Handshake {
    connection: u64,
    origin: Arc<str>,
    certificate: Option<Thumbprint>,
    resumed: bool,
    version: TlsVersion,
}

impl Handshake {
    /// The number of the connection, as in [`Recorded::connection`](super::Recorded::connection).
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// The origin of the server, `https://127.0.0.1:40123` for instance.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The thumbprint of the client's certificate (`x5t#S256`), if it showed one: in this handshake, or in the one that is
    /// resumed.
    pub fn certificate(&self) -> Option<Thumbprint> {
        self.certificate
    }

    /// Whether an earlier session was resumed (RFC 8446 2.2): no certificate is sent then.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// The version of TLS.
    pub fn version(&self) -> TlsVersion {
        self.version
    }
}

impl Sandbox {
    /// The TLS handshakes that were completed, in order, at all servers. The last 65 536 are kept;
    /// [`clear`](Sandbox::clear) forgets them, too.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.shared.handshakes.all()
    }
}

/// The other end of a connection.
#[derive(Default)]
pub(super) struct Peer {
    pub(super) connection: u64,
    /// The certificates that it showed, its own first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) certificate: Option<Thumbprint>,
    pub(super) resumed: bool,
}

impl Peer {
    /// The one at the other end of a plain connection.
    pub(super) fn plain(connection: u64) -> Self {
        Self {
            connection,
            ..Self::default()
        }
    }

    pub(super) fn of(connection: u64, tls: &ServerConnection) -> Self {
        let chain = tls.peer_certificates().unwrap_or_default().to_vec();
        Self {
            connection,
            certificate: chain.first().map(|own| Thumbprint::of_certificate(own)),
            chain,
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

/// The handshakes that are kept.
#[derive(Default)]
pub(super) struct Handshakes(Mutex<VecDeque<Handshake>>);

impl Handshakes {
    pub(super) fn add(&self, origin: &Arc<str>, peer: &Peer, tls: &ServerConnection) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Handshake {
            connection: peer.connection,
            origin: origin.clone(),
            certificate: peer.certificate,
            resumed: peer.resumed,
            version: match tls.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
                _ => TlsVersion::Tls13,
            },
        });
    }

    fn all(&self) -> Vec<Handshake> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
