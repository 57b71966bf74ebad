//! Certificates that are asked for anew because somebody said so.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::binding::mtls::CertificateSource;
use crate::keys::Purpose;
use crate::owner::ConnectionId;

use super::step::Errand;
use super::{Outcome, Selection, Step, Why};

/// Asks each source; gives an outcome for each certificate that was exchanged, and one for each source that could not.
pub(super) fn renewed(
    sources: &[Arc<dyn CertificateSource>],
    selection: &Selection,
    errand: &Errand,
) -> BoxStream<'static, Outcome> {
    if matches!(
        selection,
        Selection::Key(_) | Selection::Purpose(Purpose::Proof | Purpose::ClientAssertion)
    ) {
        return stream::empty().boxed();
    }
    let distrusted = errand.why == Why::Compromised;
    let selection = selection.clone();
    stream::iter(sources.to_vec())
        .then(move |source| {
            let selection = selection.clone();
            async move { renewed_at(&*source, &selection, distrusted).await }
        })
        .flat_map(stream::iter)
        .boxed()
}

async fn renewed_at(source: &dyn CertificateSource, selection: &Selection, distrusted: bool) -> Vec<Outcome> {
    // One that serves all connections serves the selected ones too.
    let which = |connection: Option<&ConnectionId>| match (selection, connection) {
        (_, None) | (Selection::Purpose(_) | Selection::All, _) => true,
        (Selection::Connection(selected), Some(connection)) => selected == connection,
        (Selection::Tenant(tenant), Some(connection)) => connection.tenant().id() == tenant,
        (Selection::Key(_), _) => false,
    };
    match source.renew(&which, distrusted).await {
        Ok(exchanged) => vec![Outcome::Ended; exchanged],
        Err(error) => vec![Outcome::Failed {
            step: Step::Certificate,
            code: error.code(),
        }],
    }
}
