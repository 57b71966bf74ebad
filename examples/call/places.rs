//! The URLs of the command line, and the loopback authorities among them: naming one there is the leave to use it.

use shipbound::target::Target;
use shipbound::target::danger::Loopback;

use crate::usage::{Usage, wrong};

pub(crate) struct Places {
    allow_http: bool,
    loopback: Vec<Loopback>,
}

impl Places {
    pub(crate) fn new(allow_http: bool) -> Self {
        Self {
            allow_http,
            loopback: Vec::new(),
        }
    }

    pub(crate) fn admit(&mut self, option: &str, url: &str) -> Result<Target, Usage> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let plain = scheme.eq_ignore_ascii_case("http");
        if plain && !self.allow_http {
            return wrong(format!(
                "{option}: plain http is refused; --allow-http-loopback takes it for a loopback address"
            ));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let default = if plain { 80 } else { 443 };
        let loopback = Loopback::exact(authority).or_else(|_| Loopback::exact(&format!("{authority}:{default}")));
        match loopback {
            Ok(loopback) => self.loopback.push(loopback),
            Err(_) if plain => {
                return wrong(format!("{option}: plain http is taken for loopback addresses only"));
            }
            Err(_) => {}
        }
        Target::parse_allowing(url, &self.loopback).map_err(|error| Usage(format!("{option}: {error}")))
    }

    /// As [`Places::admit`], for what has no path.
    pub(crate) fn admit_origin(&mut self, option: &str, origin: &str) -> Result<(), Usage> {
        if self.admit(option, origin)?.path_and_query() == "/" {
            Ok(())
        } else {
            wrong(format!("{option} is scheme, host and port, without a path"))
        }
    }

    pub(crate) fn loopback(self) -> Vec<Loopback> {
        self.loopback
    }
}
