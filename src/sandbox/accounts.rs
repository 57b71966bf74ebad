//! What clients have at single carriers beside id and secret: API keys, and parts of credentials.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::Sandbox;
use super::clients::Clients;
use super::imitations::{self, Imitation, Shown};
use crate::carriers::CarrierProfile;
use crate::credentials::{Credential, CredentialAt, MemoryCredentials};
use crate::crypto;
use crate::owner::{Environment, TenantId};
use crate::secret::ClientSecret;
use crate::token::TokenAt;

impl Sandbox {
    /// The credential of the tenant's client in the shape that this profile wants, the same ever after.
    ///
    /// Without tokens it is an API key, or an id with its secret; keys begin as the profile says that those of its environment do
    /// ([`CarrierProfile::key_forms`]). Each required part is made up, and of the others, with the body for a second token, those
    /// that the carrier's imitation knows. Otherwise it is what [`credential`](Self::credential) gives.
    pub fn credential_for(&self, profile: &CarrierProfile, tenant: &TenantId) -> Credential {
        let main = self.credential(tenant);
        let account = self.account(profile, tenant, main.client_id());
        let credential = match (profile.token_at(), profile.placement(), account.key) {
            (TokenAt::Credential, CredentialAt::Basic | CredentialAt::Headers { .. }, Some(key)) => {
                Credential::new(main.client_id(), key)
            }
            (TokenAt::Credential, _, Some(key)) => Credential::api_key(key),
            _ => main,
        };
        let parts = account.parts.into_iter();
        parts.fold(credential, |credential, (name, value)| {
            credential.with_part(&name, value)
        })
    }

    /// A store with the credentials of these tenants' main accounts at this carrier, each as
    /// [`credential_for`](Self::credential_for) gives it.
    pub fn credentials<'a>(
        &self,
        profile: &CarrierProfile,
        tenants: impl IntoIterator<Item = &'a TenantId>,
    ) -> MemoryCredentials {
        let store = MemoryCredentials::new();
        for tenant in tenants {
            let credential = self.credential_for(profile, tenant);
            store.put(tenant.clone(), profile.id(), profile.environment(), credential);
        }
        store
    }

    fn account(&self, profile: &CarrierProfile, tenant: &TenantId, client: &str) -> Account {
        let secret = || self.shared.seed.secret(32);
        let mut account = Account::default();
        if *profile.token_at() == TokenAt::Credential {
            let mut forms = profile.key_forms().iter();
            let form = forms.find(|form| form.environment == profile.environment());
            let prefix = form.map_or("", |form| &*form.prefix);
            account.key = Some(ClientSecret::new(format!("{prefix}{}", secret())));
        }
        let imitation = imitations::of(profile.id().as_str());
        let parts = profile.parts().iter().map(|part| (&part.name, part.required));
        let body = profile.second_token().map(|second| (&second.body_part, false));
        for (name, required) in parts.chain(body) {
            let known = imitation.and_then(|imitation| imitation.part(name, tenant, &secret));
            let value = known.or_else(|| required.then(secret));
            let value = value.map(|value| (name.to_string(), ClientSecret::new(value)));
            account.parts.extend(value);
        }
        let place = Place {
            client: client.to_owned(),
            carrier: profile.id().as_str().to_owned(),
            environment: profile.environment(),
        };
        self.shared.accounts.ensure(place, account)
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    client: String,
    carrier: String,
    environment: Environment,
}

impl Place {
    /// Whether this carrier knows the account: its own, and those of profiles that nobody imitates, as tests write them.
    fn counts_at(&self, carrier: &str) -> bool {
        self.carrier == carrier || imitations::of(&self.carrier).is_none()
    }
}

#[derive(Clone, Default)]
struct Account {
    key: Option<ClientSecret>,
    parts: BTreeMap<String, ClientSecret>,
}

/// The accounts that there are.
#[derive(Default)]
pub(super) struct Accounts(Mutex<HashMap<Place, Account>>);

impl Accounts {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Place, Account>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The account at this place; what it lacks comes from `made`.
    fn ensure(&self, place: Place, made: Account) -> Account {
        if made.key.is_none() && made.parts.is_empty() {
            return made;
        }
        self.with(|accounts| {
            let own = accounts.entry(place).or_default();
            own.key = own.key.take().or(made.key);
            for (name, value) in made.parts {
                own.parts.entry(name).or_insert(value);
            }
            own.clone()
        })
    }

    /// Takes this client's keys away, at all carriers.
    pub(super) fn forget_keys(&self, client: &str) {
        self.with(|accounts| {
            for (_, account) in accounts.iter_mut().filter(|(place, _)| place.client == client) {
                account.key = None;
            }
        });
    }

    /// The client that shows this at a carrier. All are compared, each in constant time.
    pub(super) fn holder(&self, imitation: &dyn Imitation, clients: &Clients, shown: &Shown) -> Option<String> {
        let (id, secret) = match shown {
            Shown::Key(key) => (None, key.as_str()),
            Shown::Pair(id, secret) => (Some(id.as_str()), secret.as_str()),
        };
        let by_key = self.with(|accounts| {
            let mut found = None;
            for (place, account) in accounts.iter() {
                let fits = account.key.as_ref().is_some_and(|key| is_same(key, secret));
                if fits && place.counts_at(imitation.id()) && id.is_none_or(|id| id == place.client) {
                    found = Some(place.client.clone());
                }
            }
            found
        });
        let by_secret = clients.with_secret(secret).filter(|own| id.is_none_or(|id| id == own));
        by_key.or(by_secret)
    }
}

/// A client at one carrier: what it has there.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    pub(super) client: &'a str,
    pub(super) tenant: Option<&'a TenantId>,
    pub(super) carrier: &'static str,
    pub(super) accounts: &'a Accounts,
}

impl Holder<'_> {
    /// Whether all of these are parts of one account of the client's. One that is not shown is not.
    pub(super) fn has(&self, shown: &[(&str, Option<&str>)]) -> bool {
        self.any(|parts| {
            shown.iter().all(|(part, value)| {
                let own = parts.get(*part).zip(*value);
                own.is_some_and(|(own, value)| is_same(own, value))
            })
        })
    }

    /// A value of this part, where the client has one.
    pub(super) fn first(&self, part: &str) -> Option<String> {
        self.accounts.with(|accounts| {
            let own = accounts.iter().filter(|(place, _)| place.client == self.client);
            let mut here = own.filter(|(place, _)| place.counts_at(self.carrier));
            here.find_map(|(_, account)| Some(account.parts.get(part)?.expose().to_owned()))
        })
    }

    /// Whether the client has such a part at all.
    pub(super) fn knows(&self, part: &str) -> bool {
        self.any(|parts| parts.contains_key(part))
    }

    /// Whether one of the client's accounts has parts like that.
    pub(super) fn any(&self, like: impl Fn(&BTreeMap<String, ClientSecret>) -> bool) -> bool {
        self.accounts.with(|accounts| {
            let own = accounts.iter().filter(|(place, _)| place.client == self.client);
            let mut here = own.filter(|(place, _)| place.counts_at(self.carrier));
            here.any(|(_, account)| like(&account.parts))
        })
    }
}

fn is_same(own: &ClientSecret, shown: &str) -> bool {
    crypto::constant_time_eq(own.expose().as_bytes(), shown.as_bytes())
}
