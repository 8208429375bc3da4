//! Being let in.

use std::fmt;

use crate::wire::call::call;
use crate::wire::kv::ResponseHeader;

call!(
    AuthenticateRequest,
    AuthenticateResponse,
    "Auth",
    "Authenticate"
);

/// Asks for a token. Its `Debug` output leaves out the password.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct AuthenticateRequest {
    /// The user.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The user's secret.
    #[prost(string, tag = "2")]
    pub password: String,
}

impl fmt::Debug for AuthenticateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateRequest")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A token. Its `Debug` output leaves it out.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct AuthenticateResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Opens later calls; as secret as the password.
    #[prost(string, tag = "2")]
    pub token: String,
}

impl fmt::Debug for AuthenticateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateResponse")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_password_nor_token_is_printed() {
        let request = AuthenticateRequest {
            name: "ada".to_owned(),
            password: "hush".to_owned(),
        };
        let response = AuthenticateResponse {
            header: None,
            token: "hush".to_owned(),
        };
        let said = format!("{request:?} {response:?}");
        assert!(!said.contains("hush") && said.contains("ada"), "{said}");
    }
}
