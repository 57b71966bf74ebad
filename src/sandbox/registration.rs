//! How clients are registered: how they authenticate, and what their tokens are bound to.

use crate::credentials::Credential;
use crate::jose::{PublicJwk, Thumbprint};
use crate::owner::TenantId;
use crate::secret::ClientSecret;

use super::Sandbox;

/// A client's registration (RFC 7591): given to [`Sandbox::register`].
///
/// Its requests are those of the tenant of the same name, if the name can be a tenant's, unless
/// [`tenant`](Registration::tenant) says another.
///
/// ```
/// use shipbound::jose::Thumbprint;
/// use shipbound::sandbox::Registration;
///
/// # fn registrations(old: Thumbprint, new: Thumbprint) {
/// let by_authority = Registration::tls_client_auth("acme", "acme").certificate_bound_tokens();
/// // The new certificate is registered before the old one goes.
/// let by_certificate = Registration::self_signed_tls_client_auth("acme", [old, new]).certificate_bound_tokens();
/// # let _ = (by_authority, by_certificate);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Registration {
    pub(super) client_id: String,
    pub(super) tenant: Option<TenantId>,
    pub(super) method: AuthMethod,
    pub(super) certificate_bound: bool,
    pub(super) dpop_bound: bool,
    pub(super) rules: JwtRules,
    pub(super) redirect_uris: Vec<String>,
}

/// What the client's assertions must be like.
#[derive(Clone, Debug, Default)]
pub(super) struct JwtRules {
    /// The `typ` that RFC 7523bis gives them: demanded, refused, or either way.
    pub(super) explicit_typ: Option<bool>,
    /// Another audience than the issuer.
    pub(super) audience: Option<String>,
    /// The token endpoint's URL is an audience as well.
    pub(super) token_endpoint: bool,
    /// They carry their key's certificate.
    pub(super) certificates: bool,
}

/// How a client shows that it is the one.
#[derive(Clone, Debug)]
pub(super) enum AuthMethod {
    /// `client_secret_basic` and `client_secret_post`.
    Secret(ClientSecret),
    /// `tls_client_auth`: a certificate of the sandbox's authority with this common name.
    Subject(String),
    /// `self_signed_tls_client_auth`: one of these certificates.
    Certificates(Vec<Thumbprint>),
    /// `private_key_jwt`: one of these keys, each with its `kid`.
    Keys(Vec<(String, PublicJwk)>),
    /// `none`: a public client.
    Nothing,
}

impl Registration {
    fn new(client_id: &str, method: AuthMethod) -> Self {
        Self {
            client_id: client_id.to_owned(),
            tenant: TenantId::new(client_id).ok(),
            method,
            certificate_bound: false,
            dpop_bound: false,
            rules: JwtRules::default(),
            redirect_uris: Vec::new(),
        }
    }

    /// A client with a secret: `client_secret_basic` or `client_secret_post`, as it likes (RFC 6749 2.3.1).
    pub fn secret(client_id: &str, secret: impl Into<ClientSecret>) -> Self {
        Self::new(client_id, AuthMethod::Secret(secret.into()))
    }

    /// `tls_client_auth` (RFC 8705 2.1): a certificate of the sandbox's authority, valid by the sandbox's clock, whose subject
    /// has this common name.
    pub fn tls_client_auth(client_id: &str, common_name: &str) -> Self {
        Self::new(client_id, AuthMethod::Subject(common_name.to_owned()))
    }

    /// `self_signed_tls_client_auth` (RFC 8705 2.2): any of the certificates with these thumbprints (`x5t#S256`), whoever
    /// signed them.
    pub fn self_signed_tls_client_auth(client_id: &str, certificates: impl IntoIterator<Item = Thumbprint>) -> Self {
        Self::new(client_id, AuthMethod::Certificates(certificates.into_iter().collect()))
    }

    /// `private_key_jwt` (RFC 7523 2.2): assertions signed by one of these keys, each with its `kid`. The same keys sign the
    /// client's grants (RFC 7523 2.1).
    ///
    /// `iss` and `sub` are the client id, `aud` is the issuer as one text, `exp` is no more than 5 min ahead, `jti` is used once
    /// (FAPI 2.0 5.3.2.1). In a grant `sub` may be anyone, and no more than 120 s lie between `iat` and `exp`.
    pub fn private_key_jwt<K: Into<String>>(client_id: &str, keys: impl IntoIterator<Item = (K, PublicJwk)>) -> Self {
        let keys = keys.into_iter().map(|(kid, key)| (kid.into(), key)).collect();
        Self::new(client_id, AuthMethod::Keys(keys))
    }

    /// `none`: a public client, known by its id alone (RFC 6749 2.1). Its refresh tokens are bound to the key or the
    /// certificate that they were first asked for with (RFC 9449 5, RFC 8705 4).
    pub fn public(client_id: &str) -> Self {
        Self::new(client_id, AuthMethod::Nothing)
    }

    /// Whether assertions must have the `typ` that RFC 7523bis gives them (`true`: `client-authentication+jwt`, in grants
    /// `authorization-grant+jwt`), or must have none or `JWT` (`false`, as older issuers). Default: either.
    #[must_use]
    pub fn explicit_typ(mut self, explicit: bool) -> Self {
        self.rules.explicit_typ = Some(explicit);
        self
    }

    /// Assertions are for this audience and no other: a party's id, as in iSHARE. Default: the issuer.
    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        self.rules.audience = Some(audience.to_owned());
        self
    }

    /// Assertions may be for the token endpoint's URL as well as for the issuer, as RFC 7523 3 had it.
    #[must_use]
    pub fn token_endpoint_audience(mut self) -> Self {
        self.rules.token_endpoint = true;
        self
    }

    /// Assertions must carry their key's certificate in `x5c` (RFC 7515 4.1.6), and need no `kid`.
    #[must_use]
    pub fn certificates(mut self) -> Self {
        self.rules.certificates = true;
        self
    }

    /// Lets authorization codes be sent to exactly this URL; at `http://127.0.0.1/..` and `http://[::1]/..` to any port (RFC 8252
    /// 7.3). None by default.
    #[must_use]
    pub fn redirect_uri(mut self, uri: &str) -> Self {
        self.redirect_uris.push(uri.to_owned());
        self
    }

    /// Makes its requests those of this tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: &TenantId) -> Self {
        self.tenant = Some(tenant.clone());
        self
    }

    /// `tls_client_certificate_bound_access_tokens` (RFC 8705 3.4): its tokens are bound to the certificate of the connection
    /// that they are asked for on. A request without a certificate is refused with `invalid_request`.
    #[must_use]
    pub fn certificate_bound_tokens(mut self) -> Self {
        self.certificate_bound = true;
        self
    }

    /// `dpop_bound_access_tokens` (RFC 9449 5.2): a token request without a proof is refused with `invalid_request`.
    #[must_use]
    pub fn dpop_bound_tokens(mut self) -> Self {
        self.dpop_bound = true;
        self
    }

    pub(super) fn credential(&self) -> Credential {
        match &self.method {
            AuthMethod::Secret(secret) => Credential::new(&self.client_id, secret.clone()),
            _ => Credential::without_secret(&self.client_id),
        }
    }
}

impl Sandbox {
    /// Registers a client, in the place of an older registration of the same id: what was issued to that stays good. Gives
    /// what the client is to be configured with.
    pub fn register(&self, registration: Registration) -> Credential {
        let credential = registration.credential();
        self.shared.clients.put(registration);
        credential
    }
}
