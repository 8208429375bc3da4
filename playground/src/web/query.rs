//! The parameters of a GET: `?from=0&prefix=%2Fapp`.

use axum::http::Uri;

use crate::told::refusal::Refusal;

/// The parameters of a request.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Result<Self, Refusal> {
        let pairs = uri.query().unwrap_or_default().split('&');
        let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        });
        let pairs: Option<_> = pairs.collect();
        let bad = || Refusal::Impossible("the query is no percent-encoded UTF-8".to_owned());
        Ok(Self(pairs.ok_or_else(bad)?))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The number of a change; none: now.
    pub(super) fn moment(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.text(name) {
            Some("now") => Ok(None),
            _ => self.number(name),
        }
    }

    /// A number, if it is given.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let bad = |_| Refusal::Impossible(format!("{name} must be a number from 0 on"));
        text.parse().map(Some).map_err(bad)
    }
}

/// Without percent signs, and with spaces for plus signs.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_what_a_browser_meant() {
        let uri: Uri = "/api/keys?at=371&prefix=%2Fapp%2Fgr%C3%B6%C3%9Fe&after=a+b"
            .parse()
            .expect("a URI");
        let query = Query::of(&uri).expect("well-formed");
        assert_eq!(query.text("prefix"), Some("/app/größe"));
        assert_eq!(query.text("after"), Some("a b"));
        assert_eq!(query.number("at").ok(), Some(Some(371)));
        assert_eq!(query.number("count").ok(), Some(None));
        assert!(query.number("prefix").is_err());
        for bad in ["/?a=%2", "/?a=%zz", "/?a=%ff"] {
            let uri: Uri = bad.parse().expect("a URI");
            assert!(Query::of(&uri).is_err(), "{bad}");
        }
    }
}
