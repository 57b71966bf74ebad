//! The TLS configuration of one client certificate: what it shows, and tickets that nobody else has.

use std::sync::Arc;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, NamedGroup, SignatureScheme};

use super::super::identity::ClientIdentity;

/// Tickets of this many servers are kept for each certificate: issuer and API, each with an alias.
const SERVERS: usize = 4;

/// rustls keeps this many tickets of a server, and counts tickets.
const TICKETS_PER_SERVER: usize = 8;

/// `shared` for this certificate alone.
pub(super) fn config(shared: &ClientConfig, identity: &ClientIdentity) -> ClientConfig {
    let mut config = shared.clone();
    config.client_auth_cert_resolver = Arc::new(Shown(identity.clone()));
    config.resumption = Resumption::store(Arc::new(Tickets {
        identity: identity.clone(),
        kept: ClientSessionMemoryCache::new(SERVERS * TICKETS_PER_SERVER),
    }));
    config
}

/// Shows one certificate to whoever asks for one.
#[derive(Debug)]
struct Shown(ClientIdentity);

impl ResolvesClientCert for Shown {
    /// Whatever authorities the server names: one that does not take the certificate says so, which tells more than none.
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A handshake that is resumed needs no signature. So that a closed key makes no handshakes at all, its tickets are not given
/// out any more.
#[derive(Debug)]
struct Tickets {
    identity: ClientIdentity,
    kept: ClientSessionMemoryCache,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.kept.set_tls12_session(server, session);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept.tls12_session(server).filter(|_| self.identity.has_open_key())
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.kept.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.kept.insert_tls13_ticket(server, ticket);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept
            .take_tls13_ticket(server)
            .filter(|_| self.identity.has_open_key())
    }
}
