//! Sessions of browsers: an unguessable id in a cookie, everything else on the server.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use shipbound::owner::TenantId;
use shipbound::token::consent::PendingConsent;

use crate::carrier::Label;

/// The cookie's name. Where the site is served over TLS, as it should be, call it `__Host-session` and add `Secure`: then no
/// other host and no plain connection can set it.
const COOKIE_NAME: &str = "session";

/// How many sessions are kept; the oldest goes first.
const KEPT: usize = 1000;

/// What the server knows of one browser.
pub(crate) struct Session {
    /// Whose session it is. Here every browser is a shipper of its own; an application takes this from its sign-in.
    pub(crate) shipper: TenantId,
    /// The consent that is under way in this browser. Taken out by the first answer, whatever that is.
    pub(crate) pending: Option<PendingConsent>,
    pub(crate) account: Account,
}

/// How the shipper's account at the carrier stands.
#[derive(Clone)]
pub(crate) enum Account {
    Unknown,
    /// With the labels that were bought so far.
    Connected(Vec<Label>),
    /// Why not, in words for the shipper.
    NotConnected(String),
}

#[derive(Default)]
struct Kept {
    sessions: HashMap<String, Session>,
    order: VecDeque<String>,
    opened: u64,
}

#[derive(Default)]
pub(crate) struct Sessions(Mutex<Kept>);

impl Sessions {
    /// A new session: the cookie that says its id.
    pub(crate) fn open(&self) -> Result<HeaderValue, Box<dyn std::error::Error>> {
        let mut octets = [0; 32];
        getrandom::fill(&mut octets)?;
        let id = URL_SAFE_NO_PAD.encode(octets);
        // Scripts cannot read it, and other sites' forms are sent without it: they cannot begin a consent.
        let cookie = HeaderValue::try_from(format!("{COOKIE_NAME}={id}; Path=/; HttpOnly; SameSite=Lax"))?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.opened += 1;
        let session = Session {
            shipper: TenantId::new(&format!("shipper-{}", kept.opened))?,
            pending: None,
            account: Account::Unknown,
        };
        if kept.order.len() == KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.sessions.remove(&oldest);
        }
        kept.order.push_back(id.clone());
        kept.sessions.insert(id, session);
        Ok(cookie)
    }

    /// Looks at a session, or changes it. `None` where there is none of this id.
    pub(crate) fn with<T>(&self, id: &str, act: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.sessions.get_mut(id).map(act)
    }

    /// The id of the session that a request belongs to, if it is one of ours.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Option<String> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut ids = cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='));
        ids.find(|id| self.with(id, |_| ()).is_some()).map(str::to_owned)
    }
}
