//! What a write did, as its request and its answer tell, and whether a history has just that.

use bytes::Bytes;
use cairn_etcd::wire::{
    Call, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse, request_op,
    response_op,
};
use cairn_protocol::keys;

/// A request that writes, and whose answer tells what it did.
pub(crate) trait Write: Call {
    /// What it did.
    fn effects(&self, answer: &Self::Response) -> Effects;

    /// The answer's header.
    fn header(answer: &Self::Response) -> Option<ResponseHeader>;

    /// A key of the persisters' own that it may write; of a range the first key.
    fn touches(&self) -> Option<&Bytes>;
}

/// What a write did, in its order. Nothing: it has no revision of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects(Vec<Effect>);

#[derive(Clone, PartialEq, Eq)]
enum Effect {
    Put {
        key: Bytes,
        /// `None`: what was there.
        value: Option<Bytes>,
    },
    Delete {
        key: Bytes,
        range_end: Bytes,
        deleted: i64,
    },
}

impl std::fmt::Debug for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A value may be a secret.
        match self {
            Self::Put { key, .. } => write!(f, "Put({key:?})"),
            Self::Delete { key, deleted, .. } => write!(f, "Delete({key:?}, {deleted} keys)"),
        }
    }
}

impl Effects {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is to be read to learn whether a history has them at this revision.
    pub(crate) fn questions(&self, revision: i64) -> Vec<RangeRequest> {
        let ask = |effect: &Effect| match effect {
            Effect::Put { key, value } => vec![RangeRequest {
                revision,
                keys_only: value.is_none(),
                ..RangeRequest::key(key.clone())
            }],
            Effect::Delete { key, range_end, .. } => {
                let count = |revision| RangeRequest {
                    key: key.clone(),
                    range_end: range_end.clone(),
                    revision,
                    count_only: true,
                    ..RangeRequest::default()
                };
                vec![count(revision), count(revision - 1)]
            }
        };
        self.0.iter().flat_map(ask).collect()
    }

    /// Whether these answers to the [`questions`](Self::questions) are those of a history that has
    /// them.
    pub(crate) fn are_told_by(&self, revision: i64, answers: &[RangeResponse]) -> bool {
        let mut answers = answers.iter();
        let mut next = || answers.next();
        self.0.iter().all(|effect| match effect {
            Effect::Put { value, .. } => {
                next().and_then(|at| at.kvs.first()).is_some_and(|found| {
                    let same = value.as_ref().is_none_or(|value| *value == found.value);
                    found.mod_revision == revision && same
                })
            }
            Effect::Delete { deleted, .. } => {
                let (after, before) = (next(), next());
                // Of two ranges that overlap, the second found what the first had left.
                after.is_some_and(|after| after.count == 0)
                    && before.is_some_and(|before| before.count >= *deleted)
            }
        })
    }
}

impl Write for PutRequest {
    fn effects(&self, _: &PutResponse) -> Effects {
        let value = (!self.ignore_value).then(|| self.value.clone());
        Effects(vec![Effect::Put {
            key: self.key.clone(),
            value,
        }])
    }

    fn header(answer: &PutResponse) -> Option<ResponseHeader> {
        answer.header
    }

    fn touches(&self) -> Option<&Bytes> {
        let is_own = self.key.starts_with(keys::FLAT_ROOT.as_bytes());
        is_own.then_some(&self.key)
    }
}

impl Write for DeleteRangeRequest {
    fn effects(&self, answer: &DeleteRangeResponse) -> Effects {
        let effect = Effect::Delete {
            key: self.key.clone(),
            range_end: self.range_end.clone(),
            deleted: answer.deleted,
        };
        Effects(
            Some(effect)
                .filter(|_| answer.deleted > 0)
                .into_iter()
                .collect(),
        )
    }

    fn header(answer: &DeleteRangeResponse) -> Option<ResponseHeader> {
        answer.header
    }

    fn touches(&self) -> Option<&Bytes> {
        let root = keys::FLAT_ROOT.as_bytes();
        let is_own = match &self.range_end[..] {
            [] => self.key.starts_with(root),
            end => {
                let begins_before = self.key < root || self.key.starts_with(root);
                begins_before && (end == [0] || *end > *root)
            }
        };
        is_own.then_some(&self.key)
    }
}

impl Write for TxnRequest {
    fn effects(&self, answer: &TxnResponse) -> Effects {
        let done = if answer.succeeded {
            &self.success
        } else {
            &self.failure
        };
        let each = done.iter().zip(&answer.responses);
        Effects(
            each.flat_map(|(asked, answered)| of(asked, answered).0)
                .collect(),
        )
    }

    fn header(answer: &TxnResponse) -> Option<ResponseHeader> {
        answer.header
    }

    fn touches(&self) -> Option<&Bytes> {
        let mut operations = self.success.iter().chain(&self.failure);
        operations.find_map(|operation| match &operation.request {
            Some(request_op::Request::Put(put)) => put.touches(),
            Some(request_op::Request::DeleteRange(delete)) => delete.touches(),
            Some(request_op::Request::Txn(within)) => within.touches(),
            Some(request_op::Request::Range(_)) | None => None,
        })
    }
}

fn of(asked: &RequestOp, answered: &ResponseOp) -> Effects {
    use {request_op::Request as Asked, response_op::Response as Answered};
    match (&asked.request, &answered.response) {
        (Some(Asked::Put(put)), Some(Answered::Put(answer))) => put.effects(answer),
        (Some(Asked::DeleteRange(delete)), Some(Answered::DeleteRange(answer))) => {
            delete.effects(answer)
        }
        (Some(Asked::Txn(within)), Some(Answered::Txn(answer))) => within.effects(answer),
        _ => Effects::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_etcd::wire::KeyValue;

    fn found(revision: i64, value: &'static str) -> RangeResponse {
        let kv = KeyValue {
            mod_revision: revision,
            value: value.into(),
            ..KeyValue::default()
        };
        RangeResponse {
            kvs: vec![kv],
            count: 1,
            ..RangeResponse::default()
        }
    }

    fn counted(count: i64) -> RangeResponse {
        RangeResponse {
            count,
            ..RangeResponse::default()
        }
    }

    fn answered(response: response_op::Response) -> ResponseOp {
        ResponseOp {
            response: Some(response),
        }
    }

    #[test]
    fn what_changed_nothing_has_no_effects() {
        let delete = DeleteRangeRequest::key("a");
        let nothing = DeleteRangeResponse::default();
        assert!(delete.effects(&nothing).is_empty());
        let txn = TxnRequest {
            success: vec![PutRequest::new("a", "x").into()],
            failure: vec![RangeRequest::key("a").into(), delete.into()],
            ..TxnRequest::default()
        };
        let failed = TxnResponse {
            responses: vec![
                answered(response_op::Response::Range(RangeResponse::default())),
                answered(response_op::Response::DeleteRange(nothing)),
            ],
            ..TxnResponse::default()
        };
        assert!(txn.effects(&failed).is_empty());
    }

    #[test]
    fn a_history_has_a_write_only_with_each_of_its_effects() {
        let within = TxnRequest {
            success: vec![PutRequest::new("b", "y").into()],
            ..TxnRequest::default()
        };
        let txn = TxnRequest {
            success: vec![
                PutRequest::new("a", "x").into(),
                DeleteRangeRequest::prefix("c/").into(),
                within.into(),
            ],
            ..TxnRequest::default()
        };
        let put = || answered(response_op::Response::Put(PutResponse::default()));
        let answer = TxnResponse {
            succeeded: true,
            responses: vec![
                put(),
                answered(response_op::Response::DeleteRange(DeleteRangeResponse {
                    deleted: 3,
                    ..DeleteRangeResponse::default()
                })),
                answered(response_op::Response::Txn(TxnResponse {
                    succeeded: true,
                    responses: vec![put()],
                    ..TxnResponse::default()
                })),
            ],
            ..TxnResponse::default()
        };
        let effects = txn.effects(&answer);
        let revisions = effects
            .questions(9)
            .iter()
            .map(|it| it.revision)
            .collect::<Vec<_>>();
        assert_eq!(revisions, [9, 9, 8, 9]);
        let right = [found(9, "x"), counted(0), counted(3), found(9, "y")];
        assert!(effects.are_told_by(9, &right));
        for (at, wrong) in [
            (0, found(8, "x")),
            (0, found(9, "z")),
            (0, counted(0)),
            (1, counted(1)),
            (2, counted(2)),
            (3, found(9, "x")),
        ] {
            let mut answers = right.clone();
            answers[at] = wrong;
            assert!(!effects.are_told_by(9, &answers), "{at}");
        }
        assert!(!effects.are_told_by(9, &right[..3]));
    }

    #[test]
    fn the_persisters_own_keys_are_noticed_also_within_ranges() {
        let range = |key: &'static str, end: &'static str| DeleteRangeRequest {
            key: key.into(),
            range_end: end.into(),
            ..DeleteRangeRequest::default()
        };
        for own in [
            DeleteRangeRequest::key(keys::IDENTITY),
            DeleteRangeRequest::prefix(""),
            DeleteRangeRequest::prefix("/ctl"),
            DeleteRangeRequest::prefix(keys::FLAT_ROOT),
            DeleteRangeRequest::prefix("/ctl/persistence/1/"),
            range("/a", "/z"),
            range("a", "\0"),
            range("/ctl/persistence/zzz", "/d"),
        ] {
            let is_own = own.touches().is_some();
            assert_eq!(is_own, own.key != "a", "{own:?}");
        }
        for data in [
            DeleteRangeRequest::key("/ctl"),
            DeleteRangeRequest::key("/ctl/persistence"),
            DeleteRangeRequest::prefix("/app/"),
            DeleteRangeRequest::prefix("/ctl/x"),
            range("/a", keys::FLAT_ROOT),
            range("/ctl/persistence0", "/d"),
        ] {
            assert_eq!(data.touches(), None, "{data:?}");
        }
        assert!(PutRequest::new(keys::watermark(1), "7").touches().is_some());
        assert!(PutRequest::new("/ctl/other", "7").touches().is_none());
    }

    #[test]
    fn values_are_not_printed() {
        let put = PutRequest::new("k", "hush");
        let effects = put.effects(&PutResponse::default());
        assert!(!format!("{effects:?}").contains("hush"));
    }
}
