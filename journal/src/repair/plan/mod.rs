//! Decides what the new journal holds: one sweep over what is left of the own journal, in the order
//! in which it was written. What is missing between two items is what happened between them; donors
//! are asked for it, and what nobody knows is a loss.

pub(crate) mod decided;
mod diff;
mod end;
mod planner;
pub(crate) mod sweep;
mod turn;
