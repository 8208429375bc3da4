//! Restores: of every revision, killed at any point, several at once, and as an operator asks for
//! them.

mod command;
mod elected;
mod embedded;
mod every_revision;
mod history;
mod killed;
mod large_counter;
mod merges;
mod running;
mod waiting;
