//! Answers that the proxy gives itself: redirections and direct responses (FEATURES T6).
//!
//! In: `redirect`, `directResponse`. Out: Envoy's route actions.

use meltemi_model::{DirectResponse, Redirect, RedirectPort, ResponseBody};
use meltemi_xds::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_xds::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
};

/// What a `uri` begins with that replaces the matched prefix only.
const PREFIX: &str = "%PREFIX()%";

/// A redirection, on a listener port where requests come `over_tls` or not.
pub(super) fn redirect(wanted: &Redirect, port: u16, over_tls: bool) -> RedirectAction {
    let Redirect {
        uri,
        authority,
        scheme,
        port: wanted_port,
        code,
    } = wanted;
    let own_scheme = if over_tls { "https" } else { "http" };
    let number = match wanted_port {
        None | Some(RedirectPort::FromProtocolDefault) => None,
        Some(RedirectPort::Number(number)) => Some(*number),
        Some(RedirectPort::FromRequestPort) => Some(port),
    };
    // The scheme's own port is not written out.
    let implied = match scheme.as_deref().unwrap_or(own_scheme) {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    RedirectAction {
        host_redirect: authority.clone().unwrap_or_default(),
        port_redirect: number
            .filter(|it| Some(*it) != implied)
            .map_or(0, u32::from),
        response_code: response_code(*code).into(),
        scheme_rewrite_specifier: scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: uri.as_ref().map(|uri| match uri.strip_prefix(PREFIX) {
            Some(rest) => PathRewriteSpecifier::PrefixRewrite(rest.to_owned()),
            None => PathRewriteSpecifier::PathRedirect(uri.clone()),
        }),
        ..Default::default()
    }
}

/// A response that no destination gives.
pub(super) fn direct_response(wanted: &DirectResponse) -> DirectResponseAction {
    let DirectResponse { status, body } = wanted;
    DirectResponseAction {
        status: u32::from(*status),
        body: body.as_ref().map(|body| DataSource {
            specifier: Some(match body {
                ResponseBody::Text(text) => Specifier::InlineString(text.clone()),
                ResponseBody::Bytes(bytes) => Specifier::InlineBytes(bytes.to_vec()),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn response_code(code: u16) -> RedirectResponseCode {
    match code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        // The model takes no code beyond these.
        _ => RedirectResponseCode::MovedPermanently,
    }
}
