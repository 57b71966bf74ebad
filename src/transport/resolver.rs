//! From names to addresses that may be connected to.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use super::address::{Reach, reach};

/// Looks a name up. What comes back is filtered afterwards, so an implementation need not judge addresses.
#[async_trait]
pub trait Lookup: fmt::Debug + Send + Sync {
    /// The addresses of `host`, best first; none when there is no such name.
    ///
    /// # Errors
    /// Any error; it is reduced to [`TransportErrorKind::Resolve`](super::TransportErrorKind::Resolve).
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver (`getaddrinfo`), on tokio's threads for blocking work.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let addresses = tokio::net::lookup_host((host, 0)).await?;
        Ok(addresses.map(|address| address.ip()).collect())
    }
}

/// Why a name gave no address to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum ResolveError {
    #[error("the name has no address")]
    NotFound,
    #[error("no address of the name may be connected to")]
    Refused,
}

/// A look-up whose answers are filtered.
#[derive(Debug)]
pub(super) struct Resolver {
    lookup: Arc<dyn Lookup>,
    /// Lower case.
    private_hosts: HashSet<Box<str>>,
}

impl Resolver {
    pub(super) fn new(lookup: Arc<dyn Lookup>, private_hosts: HashSet<Box<str>>) -> Self {
        Self { lookup, private_hosts }
    }

    /// The addresses of `host` that may be connected to. `localhost` gives loopback addresses alone, and comes here for
    /// exempt authorities alone.
    pub(super) async fn resolve(&self, host: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        let mut found = self.lookup.lookup(host).await.map_err(|_| ResolveError::NotFound)?;
        if found.is_empty() {
            return Err(ResolveError::NotFound);
        }
        let local = host == "localhost";
        let private = self.private_hosts.contains(host);
        found.retain(|address| match reach(*address) {
            Reach::Public => !local,
            Reach::Private => private && !local,
            Reach::Loopback => local,
            Reach::Special => false,
        });
        if found.is_empty() {
            return Err(ResolveError::Refused);
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }
}

impl ::reqwest::dns::Resolve for SharedResolver {
    fn resolve(&self, name: ::reqwest::dns::Name) -> ::reqwest::dns::Resolving {
        let resolver = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = resolver.resolve(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as ::reqwest::dns::Addrs)
        })
    }
}

/// A [`Resolver`] as reqwest takes it.
#[derive(Clone, Debug)]
pub(super) struct SharedResolver(pub(super) Arc<Resolver>);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;

    /// Answers each look-up with the next line, as a name server that rebinds does.
    #[derive(Debug)]
    struct Rebinding(Mutex<VecDeque<&'static str>>);

    #[async_trait]
    impl Lookup for Rebinding {
        async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
            let line = self.0.lock().unwrap().pop_front().ok_or(io::ErrorKind::NotFound)?;
            Ok(line
                .split_whitespace()
                .map(|address| address.parse().unwrap())
                .collect())
        }
    }

    fn resolver(answers: &[&'static str]) -> Resolver {
        let private = HashSet::from([Box::from("issuer.internal.example")]);
        Resolver::new(
            Arc::new(Rebinding(Mutex::new(answers.iter().copied().collect()))),
            private,
        )
    }

    async fn resolved(resolver: &Resolver, host: &str) -> Result<Vec<String>, ResolveError> {
        let addresses = resolver.resolve(host).await?;
        Ok(addresses.iter().map(|address| address.ip().to_string()).collect())
    }

    #[tokio::test]
    async fn every_answer_is_judged_anew() {
        let resolver = resolver(&["1.1.1.1", "169.254.169.254", "127.0.0.1 ::1", "10.0.0.1 1.1.1.1", ""]);
        let host = "api.carrier.example";
        assert_eq!(resolved(&resolver, host).await, Ok(vec!["1.1.1.1".to_owned()]));
        assert_eq!(resolved(&resolver, host).await, Err(ResolveError::Refused));
        assert_eq!(resolved(&resolver, host).await, Err(ResolveError::Refused));
        // What may be connected to is still used, the rest is not.
        assert_eq!(resolved(&resolver, host).await, Ok(vec!["1.1.1.1".to_owned()]));
        assert_eq!(resolved(&resolver, host).await, Err(ResolveError::NotFound));
        assert_eq!(resolved(&resolver, host).await, Err(ResolveError::NotFound));
    }

    #[tokio::test]
    async fn a_private_host_reaches_private_networks_and_nothing_nearer() {
        let resolver = resolver(&["10.0.0.1 fd00::1", "127.0.0.1 169.254.169.254", "10.0.0.1"]);
        let host = "issuer.internal.example";
        assert_eq!(
            resolved(&resolver, host).await,
            Ok(vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()])
        );
        assert_eq!(resolved(&resolver, host).await, Err(ResolveError::Refused));
        assert_eq!(
            resolved(&resolver, "x.issuer.internal.example").await,
            Err(ResolveError::Refused)
        );
    }

    #[tokio::test]
    async fn localhost_stays_on_this_machine() {
        let resolver = resolver(&["127.0.0.1 1.1.1.1", "1.1.1.1 10.0.0.1"]);
        assert_eq!(resolved(&resolver, "localhost").await, Ok(vec!["127.0.0.1".to_owned()]));
        assert_eq!(resolved(&resolver, "localhost").await, Err(ResolveError::Refused));
    }
}
