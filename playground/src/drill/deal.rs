//! How clients are dealt out: each writes to one cluster of the drill, and waits by one durability
//! policy.

use std::fmt;

use serde::Deserialize;

/// So many of the first persisters must confirm a write: `2 of 3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Policy {
    /// How many.
    pub require: u32,
    /// Of persister 1 to this one.
    pub of: u32,
}

impl TryFrom<String> for Policy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let policy = match words[..] {
            [require, "of", of] => require.parse().ok().zip(of.parse().ok()),
            _ => None,
        };
        match policy {
            Some((require, of)) if (1..=of).contains(&require) => Ok(Self { require, of }),
            _ => Err(format!("{text} is no policy such as \"2 of 3\"")),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.require, self.of)
    }
}

/// How clients are dealt out. Clients count from 1, clusters and hands from 0.
#[derive(Clone, Debug)]
pub(super) struct Deal {
    /// How many clusters there are.
    pub(super) clusters: u32,
    /// By which policies clients wait; at least one.
    pub(super) policies: Vec<Policy>,
}

impl Deal {
    /// How many kinds of clients there are.
    pub(super) fn hands(&self) -> usize {
        self.clusters as usize * self.policies.len()
    }

    /// Of which kind a client is.
    pub(super) fn hand(&self, client: u32) -> usize {
        client.saturating_sub(1) as usize % self.hands()
    }

    /// To which cluster it writes.
    pub(super) fn cluster(&self, client: u32) -> usize {
        self.hand(client) % self.clusters as usize
    }

    /// By which policy it waits.
    pub(super) fn policy(&self, client: u32) -> Policy {
        self.policies[self.hand(client) / self.clusters as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cluster_has_clients_of_each_policy() {
        let policies = ["1 of 2", "2 of 3"].map(|text| Policy::try_from(text.to_owned()).unwrap());
        let deal = Deal {
            clusters: 2,
            policies: policies.to_vec(),
        };
        let dealt: Vec<_> = (1..=5)
            .map(|client| (deal.cluster(client), deal.policy(client).of))
            .collect();
        assert_eq!(dealt, [(0, 2), (1, 2), (0, 3), (1, 3), (0, 2)]);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for text in ["", "2", "3 of 2", "0 of 2", "two of 3", "1 of 2 of 3"] {
            assert!(Policy::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
