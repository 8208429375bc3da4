//! Finds the nodes of a cluster by the cluster's name.
//!
//! A boot cluster lists them: each file `/ctl/ns/NAME/*` there holds the address of a node.

use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{StreamExt, TryStreamExt};

use crate::caller::Caller;
use crate::error::Result;
use crate::listing::Walk;
use crate::options::Options;
use crate::session::{self, LookUp};
use crate::uri::{Uri, UriError, with_port};

/// Connects to the cluster that a URI means.
pub(crate) async fn connect(uri: &Uri, options: Options) -> Result<Caller> {
    let options = options.bounded();
    let found = addresses(uri, &options).await?;
    let look_up = uri.name.is_some().then(|| -> LookUp {
        let (uri, options) = (uri.clone(), options.clone());
        Box::new(move || {
            let (uri, options) = (uri.clone(), options.clone());
            async move { addresses(&uri, &options).await }.boxed()
        })
    });
    let shared = session::open(found, look_up, uri.secret.clone(), options).await?;
    Ok(Caller::new(shared))
}

/// The addresses of a URI: those that it lists, and first those that its boot cluster lists.
async fn addresses(uri: &Uri, options: &Options) -> Result<Vec<String>> {
    let Some(name) = &uri.name else {
        return Ok(uri.addresses.clone());
    };
    let boot = match (&options.boot, Uri::boot_from_env()) {
        (Some(boot), _) => Some(boot.clone()),
        (None, from_env) => from_env.transpose()?,
    };
    let Some(boot) = boot else {
        if uri.addresses.is_empty() {
            return Err(UriError::no_boot(name).into());
        }
        return Ok(uri.addresses.clone());
    };
    let found = look_up(boot, name, options.clone()).await?;
    let mut addresses: Vec<String> = found.iter().filter_map(|a| with_port(a).ok()).collect();
    for address in &uri.addresses {
        if !addresses.contains(address) {
            addresses.push(address.clone());
        }
    }
    if addresses.is_empty() {
        return Err(UriError::unknown_name(name).into());
    }
    Ok(addresses)
}

/// The addresses that the boot cluster has under a name. A boot cluster itself is found by
/// addresses alone, or the look-up would have no end.
async fn look_up(boot: Uri, name: &str, options: Options) -> Result<Vec<String>> {
    let shared = session::open(boot.addresses, None, boot.secret, options).await?;
    let nodes = Walk::new(Caller::new(shared), &format!("/ctl/ns/{name}/*"), None);
    let text = |value: Bytes| String::from_utf8_lossy(&value).into_owned();
    nodes
        .map(|node| node.map(|node| text(node.value)))
        .try_collect()
        .await
}
