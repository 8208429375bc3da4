//! Persisters beside real clusters of etcd.

mod by_writes;
#[allow(dead_code)]
mod cluster;
mod commands;
mod leases;
mod many;
mod observe;
mod relay;
mod shell;
mod snapshot_file;
mod sync_client;
mod total_loss;
mod under_load;
mod went_back;
