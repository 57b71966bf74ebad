//! The application's web server.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, InvalidHeaderValue, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};
use shipbound::owner::Tenant;
use tokio::sync::watch;

use crate::carrier::{Carrier, Label, Token};
use crate::output::Output;
use crate::pages;
use crate::session::{Account, Sessions};

pub(crate) struct App {
    pub(crate) carrier: Carrier,
    out: Arc<Output>,
    sessions: Sessions,
    policy: HeaderValue,
    /// Whether the end of a consent, good or bad, was shown to a shipper.
    ended: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(carrier: Carrier, out: Arc<Output>) -> Result<Self, InvalidHeaderValue> {
        // Browsers apply `form-action` to where a form's answer redirects to as well.
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
            STANDARD.encode(Sha256::digest(pages::STYLE)),
            carrier.consent_origin()
        );
        Ok(Self {
            carrier,
            out,
            sessions: Sessions::default(),
            policy: HeaderValue::try_from(policy)?,
            ended: watch::Sender::new(false),
        })
    }

    pub(crate) async fn one_has_ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives in `self`, so the channel cannot close meanwhile.
        let _seen = ended.wait_for(|ended| *ended).await;
    }
}

pub(crate) fn routes(app: &Arc<App>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/connect", post(connect))
        .route("/callback", get(callback))
        .fallback(|| async { (StatusCode::NOT_FOUND, pages::not_found()) })
        .layer(map_response_with_state(Arc::clone(app), harden))
        .with_state(Arc::clone(app))
}

/// How the shipper's account stands, with the button.
async fn home(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let id = app.sessions.of(&headers);
    let account = id.and_then(|id| app.sessions.with(&id, |session| session.account.clone()));
    if let Some(account) = account {
        if !matches!(account, Account::Unknown) {
            app.ended.send_replace(true);
        }
        return pages::account(app.carrier.name(), &account).into_response();
    }
    match app.sessions.open() {
        Ok(cookie) => (
            [(SET_COOKIE, cookie)],
            pages::account(app.carrier.name(), &Account::Unknown),
        )
            .into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Sends the shipper to the carrier. What comes back is checked against what is kept here.
async fn connect(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let Some(id) = app.sessions.of(&headers) else {
        return (StatusCode::BAD_REQUEST, pages::no_session()).into_response();
    };
    let Some(shipper) = app.sessions.with(&id, |session| Tenant::from(session.shipper.clone())) else {
        return Redirect::to("/").into_response();
    };
    match app.carrier.authorize(&shipper).await {
        Ok(begun) => {
            app.sessions.with(&id, |session| session.pending = Some(begun.pending));
            Redirect::to(begun.url.as_str()).into_response()
        }
        Err(error) => {
            app.out.not_connected(&shipper, &error);
            let why = pages::reason(app.carrier.name(), &error);
            app.sessions
                .with(&id, |session| session.account = Account::NotConnected(why));
            Redirect::to("/").into_response()
        }
    }
}

/// Where the carrier sends the shipper back to. The browser goes on at once, so that the code stays in no address bar.
async fn callback(State(app): State<Arc<App>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let begun = app.sessions.of(&headers).and_then(|id| {
        let pending = app.sessions.with(&id, |session| session.pending.take());
        Some((id, pending.flatten()?))
    });
    let Some((id, pending)) = begun else {
        // Another browser's answer, or one that was used: nobody is told what it would be worth.
        return (StatusCode::BAD_REQUEST, pages::not_begun(app.carrier.name())).into_response();
    };
    let shipper = pending.tenant().clone();
    let query = query.unwrap_or_default();
    let account = match app.carrier.consented(pending, &query).await {
        Ok(()) => {
            app.out.connected(&shipper);
            Account::Connected(buy_labels(&app, &shipper).await)
        }
        Err(error) => {
            app.out.not_connected(&shipper, &error);
            Account::NotConnected(pages::reason(app.carrier.name(), &error))
        }
    };
    app.sessions.with(&id, |session| session.account = account);
    Redirect::to("/").into_response()
}

/// What the consent was for.
async fn buy_labels(app: &App, shipper: &Tenant) -> Vec<Label> {
    let mut labels = Vec::new();
    for which in [Token::First, Token::Refreshed] {
        match app.carrier.buy_label(shipper, which).await {
            Ok(label) => {
                app.out.label(shipper, &label);
                labels.push(label);
            }
            Err(error) => app.out.not_bought(shipper, &error),
        }
    }
    labels
}

/// What every answer carries: nothing but our own style is used, nobody frames us, nothing is kept or told on.
async fn harden(State(app): State<Arc<App>>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, app.policy.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
