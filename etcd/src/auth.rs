//! The token of a session: got from a password, and got again when the member forgot it.

use std::sync::{PoisonError, RwLock};

use tonic::metadata::MetadataValue;

use crate::config::secret::User;
use crate::connection::link::{Link, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::wire::auth::AuthenticateRequest;
use crate::wire::call::Call;

/// Who a session is, and what proves it now.
#[derive(Debug)]
pub(crate) struct Auth {
    user: Option<User>,
    token: RwLock<Option<Token>>,
    /// Held while a token is asked for, so that many calls ask once.
    asking: tokio::sync::Mutex<()>,
}

impl Auth {
    pub(crate) fn new(user: Option<User>) -> Self {
        Self {
            user,
            token: RwLock::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn token(&self) -> Option<Token> {
        self.token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks for a token, unless somebody has got another one than `stale` meanwhile. A cluster
    /// that asks nobody who they are needs none.
    pub(crate) async fn refresh(&self, link: &Link, stale: Option<&Token>) -> Result<()> {
        let Some(user) = &self.user else {
            return Ok(());
        };
        let _asking = self.asking.lock().await;
        if self.token().as_ref() != stale {
            return Ok(());
        }
        let request = AuthenticateRequest {
            name: user.name.clone(),
            password: user.password.expose().to_owned(),
        };
        let token = match link.call(request, None).await {
            Ok(answer) => Some(sensitive(link, &answer.token)?),
            Err(error) if is_not_enabled(&error) => None,
            Err(error) => return Err(error),
        };
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }

    /// Does `attempt`, and once more with a fresh token if the member did not know ours. Such an
    /// attempt has done nothing, so a write happens at most once.
    pub(crate) async fn with_token<T, F>(
        &self,
        link: &Link,
        is_lost: impl Fn(&Error) -> bool,
        attempt: impl Fn(Option<Token>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let token = self.token();
        match attempt(token.clone()).await {
            Err(error) if self.user.is_some() && is_lost(&error) && !error.may_have_happened() => {
                self.refresh(link, token.as_ref()).await?;
                attempt(self.token()).await
            }
            done => done,
        }
    }
}

fn sensitive(link: &Link, token: &str) -> Result<Token> {
    let mut token: Token = MetadataValue::try_from(token).map_err(|_| {
        let detail = "the token cannot be sent back".to_owned();
        link.error(AuthenticateRequest::NAME, ErrorKind::Protocol, detail)
    })?;
    token.set_sensitive(true);
    Ok(token)
}

fn is_not_enabled(error: &Error) -> bool {
    error.kind() == ErrorKind::Refused
        && error.to_string().contains("authentication is not enabled")
}
