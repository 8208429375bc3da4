//! Where the nodes of a cluster are, when all that is known is the cluster's name.
//!
//! A boot cluster lists them: each file `/ctl/ns/NAME/*` there holds the address of a node.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{StreamExt, TryStreamExt};

use crate::uri::{UriError, with_port};
use crate::{Client, Options, Result, Uri};

/// The addresses of a URI: those that it lists, and first those that its boot cluster lists.
pub(crate) async fn addresses(uri: &Uri, options: &Options) -> Result<Vec<String>> {
    let Some(name) = &uri.name else {
        return Ok(uri.addresses.clone());
    };
    let boot = match (&options.boot, Uri::boot_from_env()) {
        (Some(boot), _) => Some(boot.clone()),
        (None, from_env) => from_env.transpose()?,
    };
    let Some(mut boot) = boot else {
        if uri.addresses.is_empty() {
            return Err(UriError::no_boot(name).into());
        }
        return Ok(uri.addresses.clone());
    };
    // A boot cluster is found by its addresses alone, or the look-up would have no end.
    boot.name = None;
    let found = look_up(boot, name.clone(), options.clone()).await?;
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

/// What the boot cluster says under a name. Boxed, since it connects by the way it is part of.
fn look_up(boot: Uri, name: String, options: Options) -> BoxFuture<'static, Result<Vec<String>>> {
    Box::pin(async move {
        let client = Client::connect_with(&boot, options).await?;
        let nodes = client.walk(&format!("/ctl/ns/{name}/*"), None);
        let text = |value: Bytes| String::from_utf8_lossy(&value).into_owned();
        nodes
            .map(|node| node.map(|node| text(node.value)))
            .try_collect()
            .await
    })
}
