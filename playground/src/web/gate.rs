//! Who gets an answer: the page of this very run, and nobody else.
//!
//! Listening on loopback keeps no website out: a page of any site may send requests to a port of
//! the computer that it is looked at on, and by a name that it owns (DNS rebinding) it may even
//! read the answers. So a request must say a host that is this server's (421), must not come from
//! another site (403), and, to see or do anything, must carry the key of this run (401), which also
//! keeps out other users of the computer. Nothing here allows another origin anything.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::web::answer::Refused;
use crate::web::shared::Options;

/// Everything comes from here; nothing inline; nobody frames the page or takes its forms elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// What a request must be like.
#[derive(Debug)]
pub(super) struct Gate {
    hosts: Vec<String>,
    /// `Bearer KEY`.
    bearer: String,
}

/// Why a request gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Host,
    Origin,
    Site,
    Key,
    Media,
}

impl Refusal {
    fn response(self) -> Response {
        let (status, says) = match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "this playground is not called that: open the link that the terminal shows, or \
                 start it with --allow-host NAME:PORT",
            ),
            Self::Origin | Self::Site => (
                StatusCode::FORBIDDEN,
                "this request comes from another site: only the playground's own page may send it",
            ),
            Self::Key => (
                StatusCode::UNAUTHORIZED,
                "open the link that the terminal shows: it carries the key to this playground",
            ),
            Self::Media => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "a POST must be JSON: content-type: application/json",
            ),
        };
        Refused::new(status, says).into_response()
    }
}

impl Gate {
    pub(super) fn new(options: &Options) -> Self {
        let port = options.port;
        let own = ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{port}"));
        let allowed = options.allow_hosts.iter().cloned();
        Self {
            hosts: own.into_iter().chain(allowed).collect(),
            bearer: format!("Bearer {}", options.key),
        }
    }

    /// Whether this comes from our own page, or from something that is no browser.
    fn own_page(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = only(headers, &HOST).map_err(|()| Refusal::Host)?;
        let host = host.filter(|host| self.hosts.iter().any(|own| own.as_bytes() == *host));
        let host = host.ok_or(Refusal::Host)?;
        let ours = [b"http://".as_slice(), host].concat();
        match only(headers, &ORIGIN) {
            Ok(None) => {}
            Ok(Some(origin)) if origin == ours => {}
            _ => return Err(Refusal::Origin),
        }
        match only(headers, &HeaderName::from_static("sec-fetch-site")) {
            Ok(None | Some(b"same-origin" | b"none")) => Ok(()),
            _ => Err(Refusal::Site),
        }
    }

    /// Whether it carries the key, and says that its body is JSON.
    fn keyed(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let key = only(headers, &AUTHORIZATION).ok().flatten();
        if !key.is_some_and(|key| equal(key, self.bearer.as_bytes())) {
            return Err(Refusal::Key);
        }
        if *method == Method::POST {
            let media = only(headers, &CONTENT_TYPE).ok().flatten();
            let media = media.and_then(|media| media.split(|byte| *byte == b';').next());
            if !media.is_some_and(|m| m.trim_ascii().eq_ignore_ascii_case(b"application/json")) {
                return Err(Refusal::Media);
            }
        }
        Ok(())
    }
}

/// The only value of a header; an error if there are several.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, ()> {
    let mut all = headers.get_all(name).iter();
    let first = all.next().map(HeaderValue::as_bytes);
    match all.next() {
        None => Ok(first),
        Some(_) => Err(()),
    }
}

/// Compares all bytes, wherever the first difference is, so that the time tells nothing of the key.
fn equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differences) == 0 && one.len() == other.len()
}

pub(super) async fn own_page_only(
    State(gate): State<Arc<Gate>>,
    request: Request,
    next: Next,
) -> Response {
    match gate.own_page(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.response(),
    }
}

pub(super) async fn keyed(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.keyed(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.response(),
    }
}

/// Every answer has these, refusals too.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await.into_response();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(&Options {
            key: "secret".to_owned(),
            port: 8047,
            allow_hosts: vec!["box.example:9000".to_owned()],
            assets: None,
        })
    }

    fn own_page(headers: &[(&'static str, &'static str)]) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        gate().own_page(&map)
    }

    /// The story: a website's own name was made to point at 127.0.0.1, and its page read what a
    /// developer's server answered.
    #[test]
    fn a_name_that_is_not_ours_gets_nothing() {
        for ours in [
            "127.0.0.1:8047",
            "localhost:8047",
            "[::1]:8047",
            "box.example:9000",
        ] {
            assert_eq!(own_page(&[("host", ours)]), Ok(()), "{ours}");
        }
        for foreign in [
            "evil.example:8047",
            "127.0.0.1",
            "127.0.0.1:8048",
            "localhost:8047.evil.example",
            "",
        ] {
            assert_eq!(own_page(&[("host", foreign)]), Err(Refusal::Host));
        }
        assert_eq!(own_page(&[]), Err(Refusal::Host));
        let twice = [("host", "localhost:8047"), ("host", "localhost:8047")];
        assert_eq!(own_page(&twice), Err(Refusal::Host));
    }

    #[test]
    fn another_site_gets_nothing() {
        let with = |name, value| own_page(&[("host", "localhost:8047"), (name, value)]);
        assert_eq!(with("origin", "http://localhost:8047"), Ok(()));
        for foreign in [
            "http://evil.example",
            "http://127.0.0.1:8047",
            "https://localhost:8047",
            "null",
        ] {
            assert_eq!(with("origin", foreign), Err(Refusal::Origin), "{foreign}");
        }
        for ours in ["same-origin", "none"] {
            assert_eq!(with("sec-fetch-site", ours), Ok(()));
        }
        for foreign in ["cross-site", "same-site", "other"] {
            assert_eq!(with("sec-fetch-site", foreign), Err(Refusal::Site));
        }
    }

    #[test]
    fn nothing_is_seen_or_done_without_the_key() {
        let asked = |method: &Method, key: &'static str, media: &'static str| {
            let mut map = HeaderMap::new();
            map.insert(AUTHORIZATION, HeaderValue::from_static(key));
            map.insert(CONTENT_TYPE, HeaderValue::from_static(media));
            gate().keyed(method, &map)
        };
        let (get, post, json) = (Method::GET, Method::POST, "application/json");
        assert_eq!(asked(&get, "Bearer secret", ""), Ok(()));
        for wrong in [
            "Bearer secre",
            "Bearer secrets",
            "Bearer Secret",
            "secret",
            "",
        ] {
            assert_eq!(asked(&get, wrong, ""), Err(Refusal::Key), "{wrong:?}");
        }
        assert_eq!(gate().keyed(&get, &HeaderMap::new()), Err(Refusal::Key));
        assert_eq!(asked(&post, "Bearer secret", json), Ok(()));
        assert_eq!(
            asked(&post, "Bearer secret", "Application/JSON; charset=utf-8"),
            Ok(())
        );
        for form in ["text/plain", "application/x-www-form-urlencoded", ""] {
            assert_eq!(
                asked(&post, "Bearer secret", form),
                Err(Refusal::Media),
                "{form}"
            );
        }
    }
}
