//! Staying with one cluster: whoever goes on by revision after a lost connection must not do so in
//! another cluster that took the place of the first.

use bytes::Bytes;
use cairn_client::{Client, ErrorCode, Result};
use cairn_protocol::keys;
use futures::{StreamExt, TryStreamExt};

/// The names of all nodes.
const NODES: &str = "/ctl/node";

/// Binds a client to the cluster that it is connected to, as far as that says which one it is: by
/// its identity, once a persister has given it one; else, in a cluster of one node, by that node,
/// whose name is another after each start. From then on the client, its watches and waits end with
/// [`Error::ClusterChanged`](cairn_client::Error::ClusterChanged) once only another cluster is
/// there. Returns whether there was anything to bind it by.
///
/// # Errors
/// Any error of a read.
pub async fn bind(client: &Client) -> Result<bool> {
    let status = client.status();
    loop {
        let connection = status.borrow().generation();
        let found = match client.get(keys::IDENTITY, None).await? {
            Some(identity) => Some((keys::IDENTITY.to_owned(), identity.value)),
            None => only_node(client).await?,
        };
        // What was read over two connections may be of two clusters.
        if status.borrow().generation() == connection {
            let Some((path, value)) = found else {
                return Ok(false);
            };
            client.require(&path, value);
            return Ok(true);
        }
    }
}

/// A file of the only node, with its value; `None`: there are several, or none says that it is it.
async fn only_node(client: &Client) -> Result<Option<(String, Bytes)>> {
    let name = client.self_name().await?;
    let names: Result<Vec<String>> = client.getdir(NODES, None).take(2).try_collect().await;
    let names = match names {
        Err(error) if error.code() == Some(ErrorCode::NoEnt) => return Ok(None),
        names => names?,
    };
    let [node] = &names[..] else {
        return Ok(None);
    };
    if node.as_bytes() != name {
        return Ok(None);
    }
    let path = format!("{NODES}/{node}/addr");
    let file = client.get(&path, None).await?;
    Ok(file.map(|file| (path, file.value)))
}
