//! How old keys get, when their successors come, and when somebody is told.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::clock::Timestamp;
use crate::crypto::Digest;
use crate::exchange::budget::Limits;
use crate::keys::{self, KeyId, KeyRecord, Purpose};
use crate::owner::Environment;

const DAY: Duration = Duration::from_secs(86_400);

/// A key is rotated at least this share of its life early, in percent, so that a round that is missed makes none too old.
const EARLIEST: u8 = 1;

/// Why a [`RotationPolicy`] cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A maximum is zero, or above what is allowed: 7 days in development, 90 days in production.
    ///
    /// User action: choose a maximum within these.
    #[error("keys live longer than nothing, and at most 7 days in development and 90 days in production")]
    Maximum,
    /// The jitter is not within 1 to 50 percent.
    ///
    /// User action: choose one that is.
    #[error("the jitter is 1 to 50 percent of a key's life")]
    Jitter,
    /// The trusted lifetime of tokens is zero, or above 30 days.
    ///
    /// User action: take [`Limits::longest_lifetime`](crate::exchange::budget::Limits::longest_lifetime) of the clients.
    #[error("the trusted lifetime of tokens is longer than nothing, and at most 30 days")]
    TrustedLifetime,
    /// Public halves would not be published ahead, or for half of a key's life or longer.
    ///
    /// User action: publish later, or let keys live longer; [`AssertionKeys::ByHand`] for keys that nobody fetches.
    #[error("public halves are published ahead, for less than half of a key's life")]
    PublishAhead,
    /// More than 16 alerts, or one at a share that is not 1 to 99 percent.
    ///
    /// User action: choose fewer, and shares within these.
    #[error("there are at most 16 alerts, at shares of 1 to 99 percent")]
    Alerts,
}

/// When somebody is told that a key's time is nearly over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alert {
    /// When this share of its life is left, in percent.
    ShareLeft(u8),
    /// When so much of its life is left. Left out where that is half of the life or more.
    Left(Duration),
}

/// How an issuer learns the client-assertion keys that it is to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssertionKeys {
    /// Somebody registers each of them, at a portal or by mail. Rotation tells of their age and makes no successors, since the
    /// issuer would refuse what these sign: register a new one, then [promote](super::Rotator::promote) it.
    #[default]
    ByHand,
    /// It fetches them from a `jwks_uri` that serves [`Jwks`](crate::keys::Jwks), which publishes each one
    /// [ahead](RotationPolicyBuilder::publish_ahead). All issuers of the deployment must.
    Published,
}

/// How old keys get, when their successors come, and when somebody is told.
///
/// | | Development ([`Environment::Sandbox`]) | Production, and keys of the deployment itself |
/// |---|---|---|
/// | maximum age, by default and at most | 7 days | 90 days |
/// | alerts by default | a quarter of the life left, 1 day left, overdue | a quarter of the life left, 7 days, 1 day, overdue |
/// | client-assertion keys by default | [registered by hand](AssertionKeys::ByHand), so not replaced | the same |
///
/// Each key is rotated a little early, by a share of its life that its id draws: keys that were made on one day do not rotate
/// in one moment, and a restart draws nothing anew.
///
/// ```
/// use std::time::Duration;
///
/// use shipbound::rotation::RotationPolicy;
///
/// let day = Duration::from_secs(86_400);
/// let monthly = RotationPolicy::builder().production(30 * day).build()?;
/// assert_eq!(RotationPolicy::default().drain(), day + Duration::from_secs(5 * 60));
/// assert!(RotationPolicy::builder().production(91 * day).build().is_err());
/// # Ok::<(), shipbound::rotation::PolicyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RotationPolicy {
    development: Duration,
    production: Duration,
    jitter: u8,
    trusted: Duration,
    ahead: Duration,
    assertion_keys: AssertionKeys,
    alerts: Arc<[Alert]>,
}

impl RotationPolicy {
    /// The highest maximum, and the default, in development.
    pub const DEVELOPMENT: Duration = Duration::from_secs(7 * 86_400);
    /// The highest maximum, and the default, in production.
    pub const PRODUCTION: Duration = Duration::from_secs(90 * 86_400);

    /// Starts with the defaults.
    pub fn builder() -> RotationPolicyBuilder {
        RotationPolicyBuilder(Self::default())
    }

    /// How old keys and certificates of this environment get at most.
    pub fn maximum(&self, environment: Environment) -> Duration {
        match environment {
            Environment::Sandbox => self.development,
            Environment::Production => self.production,
        }
    }

    /// How long a key signs after its successor was promoted: the trusted lifetime of tokens, and five minutes for what is on
    /// its way by then.
    pub fn drain(&self) -> Duration {
        keys::drain(self.trusted)
    }

    /// How long the public half of a client-assertion key is published before the key signs.
    pub fn publish_ahead(&self) -> Duration {
        self.ahead
    }

    /// How issuers learn client-assertion keys.
    pub fn assertion_keys(&self) -> AssertionKeys {
        self.assertion_keys
    }

    /// Whether keys of this purpose are rotated when they are due; of others somebody is told alone.
    pub(super) fn rotates(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Proof => true,
            Purpose::ClientAssertion => self.assertion_keys == AssertionKeys::Published,
            Purpose::Tls => false,
        }
    }

    /// When the successor of a key that was promoted at `promoted` is to sign; `None` for a key that never signed.
    pub(super) fn due(&self, key: &KeyRecord) -> Option<Timestamp> {
        let life = self.maximum(key.environment());
        Some(key.activated_at? + (life - self.early(&key.id, life)))
    }

    /// From when on a step of rotation is to be taken: a client-assertion key's successor is published first.
    pub(super) fn begins(&self, key: &KeyRecord) -> Option<Timestamp> {
        let due = self.due(key)?;
        Some(match key.purpose {
            Purpose::ClientAssertion => earlier(due, self.ahead),
            _ => due,
        })
    }

    /// The youngest age at which any key of this environment is rotated, or its successor published.
    pub(super) fn youngest(&self, environment: Environment) -> Duration {
        let life = self.maximum(environment);
        (life - percent(life, self.jitter.into())).saturating_sub(self.ahead)
    }

    /// When the key is too old; `None` for a key that never signed.
    pub(super) fn end(&self, key: &KeyRecord) -> Option<Timestamp> {
        Some(key.activated_at? + self.maximum(key.environment()))
    }

    /// The ages at which there are alerts, the youngest first, without the end of the life.
    pub(crate) fn alert_ages(&self, life: Duration) -> Vec<Duration> {
        let age = |alert: &Alert| match alert {
            Alert::ShareLeft(share) => Some(life - percent(life, (*share).into())),
            Alert::Left(left) if *left < life / 2 => Some(life - *left),
            Alert::Left(_) => None,
        };
        let mut ages: Vec<_> = self.alerts.iter().filter_map(age).collect();
        ages.sort();
        ages.dedup();
        ages
    }

    /// How many alerts there are to have been at this age: one for each threshold, one at the end, one for each day after it.
    pub(crate) fn alerts_by(&self, age: Duration, life: Duration) -> u64 {
        let soon = self.alert_ages(life).iter().filter(|at| **at <= age).count() as u64;
        match age.checked_sub(life) {
            Some(over) => soon + 1 + over.as_secs() / DAY.as_secs(),
            None => soon,
        }
    }

    /// How much earlier than its maximum a key is rotated.
    fn early(&self, key: &KeyId, life: Duration) -> Duration {
        let (least, most) = (percent(life, EARLIEST.into()), percent(life, self.jitter.into()));
        least + (most - least).mul_f64(drawn(key))
    }
}

impl Default for RotationPolicy {
    fn default() -> Self {
        Self {
            development: Self::DEVELOPMENT,
            production: Self::PRODUCTION,
            jitter: 10,
            trusted: Limits::default().longest_lifetime,
            ahead: DAY,
            assertion_keys: AssertionKeys::default(),
            alerts: [Alert::ShareLeft(25), Alert::Left(7 * DAY), Alert::Left(DAY)].into(),
        }
    }
}

/// Collects a [`RotationPolicy`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RotationPolicyBuilder(RotationPolicy);

impl RotationPolicyBuilder {
    /// How old keys get in development. Default and at most: 7 days.
    pub fn development(mut self, maximum: Duration) -> Self {
        self.0.development = maximum;
        self
    }

    /// How old keys get in production, and keys of the deployment itself. Default and at most: 90 days.
    pub fn production(mut self, maximum: Duration) -> Self {
        self.0.production = maximum;
        self
    }

    /// Within which last share of its life a key is rotated, in percent, 1 to 50. Default: 10.
    pub fn jitter_percent(mut self, share: u8) -> Self {
        self.0.jitter = share;
        self
    }

    /// How long tokens are trusted at most, as the clients'
    /// [`Limits::longest_lifetime`](crate::exchange::budget::Limits::longest_lifetime) say, the longest of them: so long the
    /// old key goes on signing. Default: theirs, 24 h.
    pub fn trusted_lifetime(mut self, ceiling: Duration) -> Self {
        self.0.trusted = ceiling;
        self
    }

    /// How issuers learn client-assertion keys. Default: [`AssertionKeys::ByHand`].
    pub fn assertion_keys(mut self, learned: AssertionKeys) -> Self {
        self.0.assertion_keys = learned;
        self
    }

    /// How long the public half of a client-assertion key is published before the key signs, where issuers
    /// [fetch](AssertionKeys::Published) it: longer than any of them caches what it fetched. Default: 24 h.
    pub fn publish_ahead(mut self, span: Duration) -> Self {
        self.0.ahead = span;
        self
    }

    /// When somebody is told that a key's time is nearly over, in the place of the defaults. That it is over is always told.
    /// Of a key that rotation is to replace nobody is told before that should have happened.
    pub fn alerts(mut self, alerts: impl IntoIterator<Item = Alert>) -> Self {
        self.0.alerts = alerts.into_iter().collect();
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] says what to change.
    pub fn build(self) -> Result<RotationPolicy, PolicyError> {
        let policy = self.0;
        let within = |span: Duration, most: Duration| !span.is_zero() && span <= most;
        if !within(policy.development, RotationPolicy::DEVELOPMENT)
            || !within(policy.production, RotationPolicy::PRODUCTION)
        {
            return Err(PolicyError::Maximum);
        }
        if !(EARLIEST..=50).contains(&policy.jitter) {
            return Err(PolicyError::Jitter);
        }
        if !within(policy.trusted, 30 * DAY) {
            return Err(PolicyError::TrustedLifetime);
        }
        if policy.ahead.is_zero() || policy.ahead >= policy.development.min(policy.production) / 2 {
            return Err(PolicyError::PublishAhead);
        }
        let legal = |alert: &Alert| match alert {
            Alert::ShareLeft(share) => (1..=99).contains(share),
            Alert::Left(left) => !left.is_zero(),
        };
        if policy.alerts.len() > 16 || !policy.alerts.iter().all(legal) {
            return Err(PolicyError::Alerts);
        }
        Ok(policy)
    }
}

/// `instant` less `span`.
pub(super) fn earlier(instant: Timestamp, span: Duration) -> Timestamp {
    let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_unix_micros(instant.unix_micros().saturating_sub(micros))
}

/// From `earlier` to `later`; nothing where `later` is not the later one.
pub(crate) fn span(earlier: Timestamp, later: Timestamp) -> Duration {
    let micros = later.unix_micros().saturating_sub(earlier.unix_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn percent(of: Duration, share: u32) -> Duration {
    of / 100 * share
}

/// A number from 0 to 1 that is always the same for this key.
fn drawn(key: &KeyId) -> f64 {
    let mut digest = Digest::default();
    digest.text("rotation");
    digest.bytes(key.as_uuid().as_bytes());
    let [a, b, c, d, ..] = digest.finish();
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::PublicJwk;
    use crate::owner::{DeploymentId, Owner};

    fn record(promoted: Timestamp) -> KeyRecord {
        let public = br#"{"kty":"EC","crv":"P-256","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}"#;
        let public = PublicJwk::from_json(public).unwrap();
        let owner = Owner::Deployment(DeploymentId::default_deployment());
        let mut record = KeyRecord::pending(owner, KeyId::random().unwrap(), Purpose::Proof, public, promoted);
        record.activated_at = Some(promoted);
        record
    }

    #[test]
    fn a_policy_that_lets_keys_live_too_long_cannot_be_built() {
        let build = |with: fn(RotationPolicyBuilder) -> RotationPolicyBuilder| {
            with(RotationPolicy::builder()).build().map(|_| ()).err()
        };
        let second = Duration::from_secs(1);
        assert_eq!(build(|policy| policy), None);
        assert_eq!(
            build(|policy| policy.development(Duration::ZERO)),
            Some(PolicyError::Maximum)
        );
        assert_eq!(
            build(|policy| policy.production(Duration::ZERO)),
            Some(PolicyError::Maximum)
        );
        assert_eq!(RotationPolicy::DEVELOPMENT, 7 * DAY);
        assert_eq!(RotationPolicy::PRODUCTION, 90 * DAY);
        let over = RotationPolicy::builder().development(7 * DAY + second).build();
        assert_eq!(over.err(), Some(PolicyError::Maximum));
        let over = RotationPolicy::builder().production(90 * DAY + second).build();
        assert_eq!(over.err(), Some(PolicyError::Maximum));
        assert_eq!(build(|policy| policy.jitter_percent(0)), Some(PolicyError::Jitter));
        assert_eq!(build(|policy| policy.jitter_percent(51)), Some(PolicyError::Jitter));
        assert_eq!(
            build(|policy| policy.trusted_lifetime(31 * DAY)),
            Some(PolicyError::TrustedLifetime)
        );
        assert_eq!(
            build(|policy| policy.publish_ahead(7 * DAY / 2)),
            Some(PolicyError::PublishAhead)
        );
        assert_eq!(
            build(|policy| policy.publish_ahead(Duration::ZERO)),
            Some(PolicyError::PublishAhead)
        );
        assert_eq!(
            build(|policy| policy.alerts([Alert::ShareLeft(100)])),
            Some(PolicyError::Alerts)
        );
        assert_eq!(
            build(|policy| policy.alerts([Alert::Left(DAY); 17])),
            Some(PolicyError::Alerts)
        );
    }

    #[test]
    fn keys_of_one_day_rotate_on_many_days_and_none_too_late() {
        let policy = RotationPolicy::default();
        let promoted = Timestamp::from_unix_seconds(1_800_000_000);
        let mut days = std::collections::BTreeMap::<i64, u32>::new();
        for _ in 0..1_000 {
            let record = record(promoted);
            let due = policy.due(&record).unwrap();
            assert_eq!(policy.due(&record), Some(due), "drawn once");
            let age = span(promoted, due);
            assert!(age >= policy.youngest(Environment::Production) + policy.publish_ahead());
            assert!(age <= policy.maximum(Environment::Production) - percent(90 * DAY, 1));
            *days.entry(due.seconds_since(promoted) / 86_400).or_default() += 1;
        }
        assert!(days.len() >= 8, "{days:?}");
        assert!(days.values().all(|keys| *keys < 250), "{days:?}");
    }

    #[test]
    fn alerts_come_once_each_and_then_daily() {
        let policy = RotationPolicy::default();
        let by = |life: u32, hours: u64| policy.alerts_by(Duration::from_secs(hours * 3600), life * DAY);
        let production = [
            67 * 24,
            67 * 24 + 12,
            83 * 24,
            89 * 24,
            90 * 24 - 1,
            90 * 24,
            91 * 24,
            92 * 24 - 1,
        ];
        assert_eq!(production.map(|hours| by(90, hours)), [0, 1, 2, 3, 3, 4, 5, 5]);
        // Seven days before its end a key of seven days is new.
        assert_eq!(
            [0, 5 * 24, 126, 6 * 24, 7 * 24].map(|hours| by(7, hours)),
            [0, 0, 1, 2, 3]
        );
    }
}
