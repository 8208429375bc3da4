//! Persisters beside real clusters of etcd.

mod agreeing;
mod api_server;
mod by_writes;
#[allow(dead_code)]
mod cluster;
mod commands;
mod import;
mod leases;
mod many;
mod observe;
mod put_back;
mod relay;
mod shell;
mod snapshot_file;
mod sync_client;
mod total_loss;
mod under_load;
mod went_back;
