//! Persisters beside real clusters of etcd.

#[allow(dead_code)]
mod cluster;
mod commands;
mod leases;
mod many;
mod snapshot_file;
mod total_loss;
mod went_back;
