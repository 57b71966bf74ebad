//! What a client does with tokens beside calling with them: revoking, asking about them, handing them on.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::clock::{Monotonic, within};
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::grants::{Claim, GrantError, Rotation};
use crate::journal::EventKind;
use crate::owner::{ConnectionId, Tenant};
use crate::pause::doubled;
use crate::secret::{RefreshToken, SubjectToken};
use crate::token::Lease;
use crate::token::grant::SubjectTokens;
use crate::token::introspection::Introspection;
use crate::token::revocation::{Revocation, TokenHint};
use crate::token::slot::Slot;

use super::Client;
use super::pipeline::Pipeline;

/// How many tenants' tokens may wait for their revocation in one client, and how many of one tenant. Beyond that the oldest
/// is given up: it ends by itself.
const MOST_TENANTS: usize = 4096;
const MOST_OF_ONE: usize = 16;

/// The first pause after an issuer could not be told again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// How often the issuer is told again of one token: for some fourteen hours.
const MOST_TRIES: u32 = 24;

/// How long a grant store may take to write, after what else is waited for.
const STORE: Duration = Duration::from_secs(1);

/// Tokens that this process does not use any more and that the issuer is still to be told of.
///
/// A token stays here until the issuer has answered: whoever tells of it may be dropped meanwhile.
#[derive(Debug, Default)]
pub(super) struct Revoked(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    tenants: HashMap<Tenant, OfTenant>,
    added: u64,
}

/// The tokens of one tenant, oldest first.
#[derive(Debug)]
struct OfTenant {
    tokens: Vec<Told>,
    /// From when on the issuer is told again.
    again: Monotonic,
}

/// One such token.
#[derive(Clone, Debug)]
struct Told {
    /// Larger than that of every token that came before.
    number: u64,
    token: Token,
    connection: Arc<Connection>,
    /// How often the issuer was told again, in vain.
    tries: u32,
}

#[derive(Clone, Debug)]
enum Token {
    Access(Arc<Lease>),
    Refresh(RefreshToken),
}

impl Token {
    fn parts(&self) -> Option<(&str, TokenHint)> {
        match self {
            Self::Access(lease) => Some((lease.token()?, TokenHint::Access)),
            Self::Refresh(token) => Some((token.expose(), TokenHint::Refresh)),
        }
    }

    fn has_ended(&self, now: Monotonic) -> bool {
        match self {
            Self::Access(lease) => lease.usable_until <= now,
            Self::Refresh(_) => false,
        }
    }
}

impl Revoked {
    /// Gives its number, and what is given up for it.
    fn add(&self, tenant: &Tenant, token: Token, connection: &Arc<Connection>) -> (u64, Vec<Told>) {
        let mut waiting = self.lock();
        let mut given_up = Vec::new();
        if waiting.tenants.len() >= MOST_TENANTS && !waiting.tenants.contains_key(tenant) {
            let age = |of: &OfTenant| of.tokens.first().map_or(0, |told| told.number);
            let oldest = waiting.tenants.iter().min_by_key(|(_, of)| age(of));
            if let Some(oldest) = oldest.map(|(oldest, _)| oldest.clone()) {
                given_up.extend(waiting.tenants.remove(&oldest).into_iter().flat_map(|of| of.tokens));
            }
        }
        waiting.added += 1;
        let number = waiting.added;
        let of = waiting.tenants.entry(tenant.clone()).or_insert_with(|| OfTenant {
            tokens: Vec::new(),
            again: Monotonic::ORIGIN,
        });
        if of.tokens.len() >= MOST_OF_ONE {
            given_up.push(of.tokens.remove(0));
        }
        of.tokens.push(Told {
            number,
            token,
            connection: Arc::clone(connection),
            tries: 0,
        });
        (number, given_up)
    }

    fn of(&self, tenant: &Tenant) -> Vec<Told> {
        let waiting = self.lock();
        waiting
            .tenants
            .get(tenant)
            .map_or_else(Vec::new, |of| of.tokens.clone())
    }

    fn has(&self, tenant: &Tenant, number: u64) -> bool {
        let waiting = self.lock();
        let of = waiting.tenants.get(tenant);
        of.is_some_and(|of| of.tokens.iter().any(|told| told.number == number))
    }

    fn remove(&self, tenant: &Tenant, number: u64) {
        let mut waiting = self.lock();
        let Some(of) = waiting.tenants.get_mut(tenant) else {
            return;
        };
        of.tokens.retain(|told| told.number != number);
        if of.tokens.is_empty() {
            waiting.tenants.remove(tenant);
        }
    }

    /// The issuer could not be told again of this token: its tenant waits, longer each time, and at least for `asked`.
    fn put_off(&self, tenant: &Tenant, number: u64, now: Monotonic, asked: Duration) {
        let mut waiting = self.lock();
        let Some(of) = waiting.tenants.get_mut(tenant) else {
            return;
        };
        let Some(told) = of.tokens.iter_mut().find(|told| told.number == number) else {
            return;
        };
        let pause = doubled(FIRST_PAUSE, told.tries, LONGEST_PAUSE);
        told.tries += 1;
        of.again = of.again.max(now + pause.max(asked));
    }

    /// The tenants whose tokens the issuer is to be told of again by now.
    fn due(&self, now: Monotonic) -> Vec<Tenant> {
        let waiting = self.lock();
        let due = waiting.tenants.iter().filter(|(_, of)| of.again <= now);
        due.map(|(tenant, _)| tenant.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of a refresh token that the issuer could not be told of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Untold {
    /// Nobody uses it any more: it ends here, and waits in memory.
    Ends,
    /// It stays in its store, where a kill loses nothing.
    Stays,
}

/// The right to end a consent, and the number under which its refresh token waits.
struct Claimed {
    claim: Claim,
    number: u64,
}

fn failed(error: GrantError) -> Error {
    Error::before(ErrorKind::Grant(error))
}

/// What became of the tokens of a connection that is removed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) told: Result<Revocation, Error>,
    /// How many tokens the issuer is still to be told of.
    pub(crate) waiting: usize,
}

impl Pipeline {
    /// Ends what the tenant's connection has, since that is removed.
    pub(crate) async fn end(&self, tenant: &Tenant) -> Ended {
        // No call goes out any more, so the refresh token may stay in its store until the issuer knows.
        let told = self.revoke_with(tenant, Untold::Stays).await;
        Ended {
            told,
            waiting: self.revoked.of(tenant).len(),
        }
    }

    /// Whether this process has tokens of the tenant's connection, or asks for one.
    pub(crate) fn holds(&self, tenant: &Tenant) -> bool {
        let tokens = &self.parts.tokens;
        tokens.holds(&self.scope, tenant)
            || tokens.under_way(&self.scope.connection(tenant)) > 0
            || !self.revoked.of(tenant).is_empty()
    }

    /// The issuer is not told any more of the tokens that wait for it.
    pub(crate) fn give_up(&self, tenant: &Tenant) {
        for told in self.revoked.of(tenant) {
            self.revoked.remove(tenant, told.number);
            self.given_up(&told);
        }
    }

    /// Forgets what this process has of the tenant's connection: token, binding, nonces.
    pub(crate) fn purge(&self, tenant: &Tenant) {
        if let Some(slot) = self.parts.tokens.remove(&self.scope, tenant) {
            slot.connection.unbind();
        }
    }

    /// Ends what the tenant's connection has: here at once, then at the issuer.
    pub(super) async fn revoke(&self, tenant: &Tenant) -> Result<Revocation, Error> {
        self.revoke_with(tenant, Untold::Ends).await
    }

    async fn revoke_with(&self, tenant: &Tenant, untold: Untold) -> Result<Revocation, Error> {
        let slot = self.parts.tokens.slot(&self.scope, tenant);
        // Nobody uses the token from here on, whatever becomes of the rest (RFC 7009 2).
        self.clear(tenant, &slot);
        let consent = self.claim_consent(tenant, &slot.connection).await;
        // A token that was asked for before the consent was claimed does not outlive it.
        self.clear(tenant, &slot);
        // The issuer hears of what there is, though the consent could not be had.
        let told = self.tell(tenant).await;
        let ended = match consent {
            Ok(Some(claimed)) => self.end_consent(tenant, claimed, untold).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        ended.and(told)
    }

    fn clear(&self, tenant: &Tenant, slot: &Slot) {
        if let Some(lease) = slot.clear() {
            self.wait(tenant, Token::Access(lease), &slot.connection);
        }
        self.parts.tokens.show(&self.scope, tenant);
    }

    /// Has the token wait until the issuer is told of it.
    fn wait(&self, tenant: &Tenant, token: Token, connection: &Arc<Connection>) -> u64 {
        let (number, given_up) = self.revoked.add(tenant, token, connection);
        given_up.iter().for_each(|told| self.given_up(told));
        number
    }

    fn given_up(&self, told: &Told) {
        self.parts
            .journal
            .record(&told.connection.id, || EventKind::RevocationGivenUp);
    }

    /// Tells the issuer of the tenant's tokens that wait for it. What it could not be told of goes on waiting.
    async fn tell(&self, tenant: &Tenant) -> Result<Revocation, Error> {
        let mut outcome = Revocation::Nothing;
        let mut failure = None;
        // All at once: each has its limit of time, and an issuer that is silent would take one limit after another.
        let told = self.revoked.of(tenant);
        for one in join_all(told.iter().map(|told| self.tell_of(tenant, told))).await {
            match one {
                Ok(Revocation::Nothing) => {}
                Ok(one) if outcome != Revocation::LocalOnly => outcome = one,
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(outcome), Err)
    }

    /// Tells the issuer of one token, which waits no longer when there is an answer.
    async fn tell_of(&self, tenant: &Tenant, told: &Told) -> Result<Revocation, Error> {
        let outcome = match told.token.parts() {
            None => Revocation::Nothing,
            Some((text, hint)) => {
                // A panic of what was handed in is a failure of this token alone.
                let revoked = AssertUnwindSafe(self.source.revoke(&told.connection, text, hint)).catch_unwind();
                match revoked
                    .await
                    .unwrap_or_else(|_panic| Err(Error::before(ErrorKind::Panicked)))?
                {
                    true => Revocation::Revoked,
                    false => Revocation::LocalOnly,
                }
            }
        };
        self.revoked.remove(tenant, told.number);
        Ok(outcome)
    }

    /// Claims what the shipper consented to, where tokens come from that. The refresh token then waits for its revocation; who is
    /// killed before the issuer has answered leaves it in its store.
    async fn claim_consent(&self, tenant: &Tenant, connection: &Arc<Connection>) -> Result<Option<Claimed>, Error> {
        if self.source.grants.is_none() {
            return Ok(None);
        }
        let grants = self.source.grants()?;
        let deadline = self.parts.clock.monotonic() + self.limits.token_exchange;
        let claimed = async {
            let claim = grants.claim(&connection.id, Rotation::PreviousStays, deadline).await;
            let claim = match claim {
                Ok(claim) => claim,
                Err(GrantError::Missing | GrantError::NeedsConsent) => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            let token = claim.refresh_token().map_err(failed)?.clone();
            let number = self.wait(tenant, Token::Refresh(token), connection);
            Ok(Some(Claimed { claim, number }))
        };
        self.stored(deadline, claimed).await
    }

    /// Ends the consent of a claim, of whose refresh token the issuer was told or not.
    async fn end_consent(&self, tenant: &Tenant, claimed: Claimed, untold: Untold) -> Result<(), Error> {
        let Claimed { claim, number } = claimed;
        let deadline = self.parts.clock.monotonic();
        if untold == Untold::Stays && self.revoked.has(tenant, number) {
            let released = self.stored(deadline, async { claim.release().await.map_err(failed) });
            released.await?;
            // It is in the store, for whoever tells the issuer next.
            self.revoked.remove(tenant, number);
            return Ok(());
        }
        self.stored(deadline, async { claim.end().await.map_err(failed) }).await
    }

    /// Waits for a grant store. One that does not answer keeps nobody from hearing of the access token.
    async fn stored<T>(&self, deadline: Monotonic, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let late = || Err(Error::before(ErrorKind::Deadline(Awaited::Credential)));
        within(&*self.parts.clock, deadline + STORE, asked)
            .await
            .unwrap_or_else(late)
    }

    /// The tenants whose tokens the issuer is to be told of again by now.
    pub(crate) fn to_be_told(&self) -> Vec<Tenant> {
        self.revoked.due(self.parts.clock.monotonic())
    }

    /// Tells the issuer again of the tenant's tokens, as long as `goes_on` says so. Failures wait for the next time, longer
    /// each time; a token that has ended, that no waiting helps, or that was told of too often in vain waits no longer.
    pub(crate) async fn tell_again(&self, tenant: &Tenant, goes_on: impl Fn() -> bool) {
        let clock = &*self.parts.clock;
        for told in self.revoked.of(tenant) {
            if !goes_on() {
                return;
            }
            if told.token.has_ended(clock.monotonic()) {
                self.revoked.remove(tenant, told.number);
                continue;
            }
            let Err(error) = self.tell_of(tenant, &told).await else {
                continue;
            };
            if error.is_for_good() || told.tries + 1 >= MOST_TRIES {
                self.revoked.remove(tenant, told.number);
                self.given_up(&told);
            } else {
                let asked = error.retry_at().map_or(0, |at| at.seconds_since(clock.now()));
                let asked = Duration::from_secs(u64::try_from(asked).unwrap_or(0));
                self.revoked.put_off(tenant, told.number, clock.monotonic(), asked);
            }
        }
    }

    pub(super) async fn introspect(&self, tenant: &Tenant) -> Result<Introspection, Error> {
        let (lease, connection) = self.held(tenant).await?;
        self.source.introspect(&lease, &connection).await
    }

    /// The lease that a call would go with, fetched where there is none.
    pub(super) async fn held(&self, tenant: &Tenant) -> Result<(Arc<Lease>, Arc<Connection>), Error> {
        let now = self.parts.clock.monotonic();
        let lease = match self.lease_at_hand(tenant, now) {
            Some(lease) => lease,
            None => self.lease(tenant, now + self.limits.call).await?,
        };
        let connection = Arc::clone(&lease.connection);
        Ok((lease, connection))
    }
}

#[async_trait]
impl SubjectTokens for Client {
    /// The token that this client would call with, for the same tenant.
    async fn subject_token(&self, connection: &ConnectionId) -> Result<SubjectToken, Error> {
        let (lease, _) = self.0.held(connection.tenant()).await?;
        let token = lease
            .token()
            .ok_or_else(|| Error::before(ErrorKind::Build("there are no tokens to exchange")))?;
        Ok(SubjectToken::new(token))
    }
}
