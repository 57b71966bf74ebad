//! The application's web server.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, SET_COOKIE};
use http::header::{HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use shipbound::owner::Tenant;
use tokio::sync::watch;

use crate::carrier::Carrier;
use crate::output::Output;
use crate::pages;
use crate::session::{Account, Sessions};

pub(crate) struct App {
    pub(crate) carrier: Carrier,
    out: Arc<Output>,
    sessions: Sessions,
    /// Whether the end of a consent, good or bad, was shown to a shipper.
    ended: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(carrier: Carrier, out: Arc<Output>) -> Self {
        Self {
            carrier,
            out,
            sessions: Sessions::default(),
            ended: watch::Sender::new(false),
        }
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
        .route("/style.css", get(style))
        .fallback(|| async { (StatusCode::NOT_FOUND, pages::not_found()) })
        .layer(map_response_with_state(Arc::clone(app), harden))
        .with_state(Arc::clone(app))
}

/// How the shipper's account stands, with the button.
async fn home(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Some(id) = app.sessions.of(&headers) {
        let account = app.sessions.with(&id, |session| session.account.clone());
        if let Some(account) = account {
            let ended = !matches!(account, Account::Unknown);
            let page = pages::account(app.carrier.name(), &account).into_response();
            app.ended
                .send_if_modified(|one| !std::mem::replace(one, *one || ended) && ended);
            return page;
        }
    }
    match app.sessions.open() {
        Ok((_, cookie)) => (
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
    let connected = async {
        app.carrier
            .consented(pending, query.as_deref().unwrap_or_default())
            .await?;
        app.out.connected(&shipper);
        app.carrier.buy_labels(&shipper).await
    };
    let account = match connected.await {
        Ok(labels) => {
            app.out.labels(&shipper, &labels);
            Account::Connected(labels)
        }
        Err(error) => {
            app.out.not_connected(&shipper, &error);
            Account::NotConnected(pages::reason(app.carrier.name(), &error))
        }
    };
    app.sessions.with(&id, |session| session.account = account);
    Redirect::to("/").into_response()
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css")).into_response()
}

/// What every answer carries: nothing but our own style is loaded, nobody frames us, nothing is kept or told on.
async fn harden(State(app): State<Arc<App>>, mut response: Response) -> Response {
    // Browsers apply `form-action` to where a form's answer redirects to as well.
    let policy = format!(
        "default-src 'none'; style-src 'self'; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
        app.carrier.consent_origin()
    );
    let fixed: [(HeaderName, &'static str); 3] = [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let headers = response.headers_mut();
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    match HeaderValue::try_from(policy) {
        Ok(policy) => {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
            response
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
