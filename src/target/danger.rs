//! Exemptions that take a protection away, as values that somebody has to make and hand over.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use thiserror::Error;

/// Why a text cannot be a loopback authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a loopback authority is 127.x.x.x:port, [::1]:port or localhost:port")]
#[non_exhaustive]
pub struct NotLoopback;

/// Leave to talk to one loopback authority, by `http` or `https`: for tests, sandboxes and developers' machines.
///
/// It covers that host, as it is written, on that port. It does not cover other loopback addresses, and what `localhost`
/// resolves to must itself be a loopback address.
///
/// ```
/// use shipbound::target::Target;
/// use shipbound::target::danger::Loopback;
///
/// let here = Loopback::exact("127.0.0.1:8080")?;
/// assert!(Target::parse("http://127.0.0.1:8080/token").is_err());
/// let target = Target::parse_allowing("http://127.0.0.1:8080/token", &[here])?;
/// assert_eq!(target.htu(), "http://127.0.0.1:8080/token");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Loopback {
    host: Arc<str>,
    port: u16,
}

impl Loopback {
    /// The exemption for this `host:port` and no other.
    ///
    /// # Errors
    /// [`NotLoopback`] unless the host is an address in 127.0.0.0/8, `[::1]` or `localhost`, and the port is written out,
    /// in 1 to 65535.
    pub fn exact(authority: &str) -> Result<Self, NotLoopback> {
        let (host, port) = authority.rsplit_once(':').ok_or(NotLoopback)?;
        let host = host.to_ascii_lowercase();
        if !is_loopback_host(&host) {
            return Err(NotLoopback);
        }
        let port = super::parse_port(port.as_bytes()).ok_or(NotLoopback)?;
        Ok(Self {
            host: host.into(),
            port,
        })
    }

    /// Whether the exemption covers this host (lower case, IPv6 in brackets) and port.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        self.port == port && *self.host == *host
    }
}

impl fmt::Display for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loopback({self})")
    }
}

/// Whether this host (lower case) is one that an exemption can be given for: each in its one spelling.
fn is_loopback_host(host: &str) -> bool {
    host == "localhost" || host == "[::1]" || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_in_its_one_spelling_and_with_a_port() {
        for good in [
            "127.0.0.1:1",
            "127.255.1.2:65535",
            "[::1]:443",
            "localhost:80",
            "LOCALHOST:80",
        ] {
            assert!(Loopback::exact(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:0",
            "127.0.0.1:080",
            "127.0.0.1:65536",
            "127.0.0.1:+1",
            "127.1:80",
            "127.0.0.01:80",
            "2130706433:80",
            "0x7f.0.0.1:80",
            "0.0.0.0:80",
            "10.0.0.1:80",
            "[::]:80",
            "::1:80",
            "[0:0:0:0:0:0:0:1]:80",
            "[::ffff:127.0.0.1]:80",
            "localhost.:80",
            "a.localhost:80",
            "localhost.example:80",
            "user@localhost:80",
            "http://localhost:80",
        ] {
            assert_eq!(Loopback::exact(bad), Err(NotLoopback), "{bad}");
        }
    }
}
