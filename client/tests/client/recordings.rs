//! Exchanges recorded from a real server: the client reads and writes exactly these bytes.

use bytes::{Bytes, BytesMut};
use cairn_client::frame::{Codec, MAX_FRAME};
use cairn_client::wire::{Request, Response, Verb};
use cairn_client::{Error, ErrorCode, Event, EventKind, File, Options, Revision, Stat};
use futures::StreamExt;
use prost::Message;
use serde_json::Value;
use tokio_util::codec::{Decoder, Encoder};

use crate::fake::Fake;

/// One line of a recording.
pub(crate) struct Exchange {
    pub(crate) name: String,
    pub(crate) fields: Value,
    pub(crate) request: Vec<u8>,
    pub(crate) response: Option<(Value, Vec<u8>)>,
}

pub(crate) fn exchanges() -> Vec<Exchange> {
    let recordings = [
        include_str!("../../testdata/wire/basic.jsonl"),
        include_str!("../../testdata/wire/globs.jsonl"),
        include_str!("../../testdata/wire/secret.jsonl"),
        include_str!("../../testdata/wire/history.jsonl"),
    ];
    let parse = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let response = line["response"].take();
        Exchange {
            name: line["name"].as_str().unwrap().to_owned(),
            fields: line["request"].take(),
            request: unhex(&line["request_hex"]),
            response: (!response.is_null()).then(|| (response, unhex(&line["response_hex"]))),
        }
    };
    recordings
        .iter()
        .flat_map(|text| text.lines())
        .map(parse)
        .collect()
}

fn unhex(hex: &Value) -> Vec<u8> {
    let digits: Vec<u8> = hex.as_str().unwrap().chars().map(digit).collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn digit(digit: char) -> u8 {
    u8::try_from(digit.to_digit(16).unwrap()).unwrap()
}

/// A text in which each character stands for the byte with its number.
fn latin1(text: &Value) -> Option<Bytes> {
    let byte = |c: char| u8::try_from(u32::from(c)).unwrap();
    text.as_str().map(|text| text.chars().map(byte).collect())
}

fn int32(value: &Value) -> Option<i32> {
    value.as_i64().map(|n| i32::try_from(n).unwrap())
}

/// The recordings show the bytes of a text as Latin-1 too.
fn utf8(value: &Value) -> Option<String> {
    latin1(value).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn verb(value: &Value) -> Option<i32> {
    let Some(name) = value.as_str() else {
        return int32(value);
    };
    Some(match name {
        "GET" => Verb::Get,
        "SET" => Verb::Set,
        "DEL" => Verb::Del,
        "REV" => Verb::Rev,
        "WAIT" => Verb::Wait,
        "NOP" => Verb::Nop,
        "WALK" => Verb::Walk,
        "GETDIR" => Verb::Getdir,
        "STAT" => Verb::Stat,
        "SELF" => Verb::Self_,
        "ACCESS" => Verb::Access,
        other => panic!("verb {other}"),
    } as i32)
}

fn code(name: &str) -> ErrorCode {
    match name {
        "TAG_IN_USE" => ErrorCode::TagInUse,
        "UNKNOWN_VERB" => ErrorCode::UnknownVerb,
        "READONLY" => ErrorCode::ReadOnly,
        "TOO_LATE" => ErrorCode::TooLate,
        "REV_MISMATCH" => ErrorCode::RevMismatch,
        "BAD_PATH" => ErrorCode::BadPath,
        "MISSING_ARG" => ErrorCode::MissingArg,
        "RANGE" => ErrorCode::Range,
        "NOTDIR" => ErrorCode::NotDir,
        "ISDIR" => ErrorCode::IsDir,
        "NOENT" => ErrorCode::NoEnt,
        "OTHER" => ErrorCode::Other,
        other => panic!("error code {other}"),
    }
}

#[test]
fn every_message_is_read_and_written_byte_for_byte() {
    let exchanges = exchanges();
    assert_eq!(exchanges.len(), 245);
    for Exchange {
        name,
        fields,
        request,
        response,
    } in exchanges
    {
        let decoded = Request::decode(&request[..]).unwrap();
        let expected = Request {
            tag: decoded.tag,
            verb: verb(&fields["verb"]),
            path: fields["path"].as_str().map(str::to_owned),
            value: latin1(&fields["value"]),
            other_tag: None,
            offset: int32(&fields["offset"]),
            rev: fields["rev"].as_i64(),
        };
        assert_eq!(decoded, expected, "request of {name}");
        assert_eq!(decoded.encode_to_vec(), request, "request of {name}");

        let Some((fields, response)) = response else {
            continue;
        };
        let decoded = Response::decode(&response[..]).unwrap();
        let number = fields["err_code"].as_str().map(code);
        assert_eq!(decoded.err_code.map(ErrorCode::from), number, "{name}");
        let expected = Response {
            tag: int32(&fields["tag"]),
            flags: int32(&fields["flags"]),
            rev: fields["rev"].as_i64(),
            path: utf8(&fields["path"]),
            value: latin1(&fields["value"]),
            len: int32(&fields["len"]),
            err_code: decoded.err_code,
            err_detail: utf8(&fields["err_detail"]),
        };
        assert_eq!(decoded, expected, "response of {name}");
        assert_eq!(decoded.encode_to_vec(), response, "response of {name}");
    }
}

#[test]
fn all_responses_in_one_stream_are_taken_apart_wherever_it_is_cut() {
    let mut server = Codec::<Response, Request>::new(MAX_FRAME);
    let mut stream = BytesMut::new();
    let mut expected = Vec::new();
    for (_, bytes) in exchanges()
        .into_iter()
        .filter_map(|exchange| exchange.response)
    {
        let response = Response::decode(&bytes[..]).unwrap();
        server.encode(response.clone(), &mut stream).unwrap();
        expected.push(response);
    }
    for piece in [1, 2, 3, 5, 7, 64, 4_096] {
        let mut client = Codec::<Request, Response>::new(MAX_FRAME);
        let (mut buffer, mut decoded) = (BytesMut::new(), Vec::new());
        for part in stream.chunks(piece) {
            buffer.extend_from_slice(part);
            while let Some(response) = client.decode(&mut buffer).unwrap() {
                decoded.push(response);
            }
        }
        assert_eq!(decoded, expected);
        assert!(buffer.is_empty());
    }
}

/// What the client makes of an answer, in the words of a recording.
fn told<T>(result: Result<T, Error>, fields: &Value, tell: impl FnOnce(T)) {
    match (result, fields["err_code"].as_str()) {
        (Ok(answer), None) => tell(answer),
        (Err(error), Some(name)) => {
            assert_eq!(error.code(), Some(code(name)));
            let text = error.to_string();
            if let (Some(detail), Error::Server { .. }) = (utf8(&fields["err_detail"]), &error) {
                assert!(text.ends_with(&detail), "{text}");
            }
        }
        (Ok(_), Some(name)) => panic!("no error, but {name} was answered"),
        (Err(error), None) => panic!("{error}"),
    }
}

fn tell_event(event: &Event, fields: &Value) {
    let kind = match fields["flags"].as_i64().unwrap() {
        4 => EventKind::Set,
        8 => EventKind::Delete,
        _ => EventKind::Nop,
    };
    assert_eq!(event.kind, kind);
    assert_eq!(Some(event.path.as_str()), fields["path"].as_str());
    assert_eq!(Some(event.revision.0), fields["rev"].as_i64());
    assert_eq!(Some(event.value.clone()), latin1(&fields["value"]));
}

/// Every recorded request that the client can express at all: it sends what was sent then, and
/// says what the answer says.
#[tokio::test]
async fn the_client_asks_and_understands_like_the_recordings() {
    let fake = Fake::start().await;
    let options = Options {
        list_window: 1,
        ..Options::default()
    };
    let (client, mut peer) = fake.connect(options).await;
    let mut replayed = 0;
    for Exchange {
        name,
        fields: _,
        request,
        response,
    } in exchanges()
    {
        let Some((answer, response)) = response else {
            continue;
        };
        let recorded = Request::decode(&request[..]).unwrap();
        let response = Response::decode(&response[..]).unwrap();
        let number = recorded.verb.and_then(|verb| Verb::try_from(verb).ok());
        let path = recorded.path.clone().unwrap_or_default();
        let at = recorded.rev.map(Revision);
        let Some(verb) = number else {
            continue;
        };
        let needs_rev = matches!(verb, Verb::Set | Verb::Del | Verb::Wait);
        let is_listing = matches!(verb, Verb::Walk | Verb::Getdir);
        // Absent arguments, and offsets in the middle of a listing, are not to be had.
        if (needs_rev && at.is_none())
            || (is_listing && recorded.offset != Some(0))
            || (matches!(verb, Verb::Get | Verb::Set | Verb::Stat) && recorded.path.is_none())
        {
            continue;
        }
        // What the client finds wrong itself never gets to the server.
        let local = match verb {
            Verb::Set | Verb::Del => !cairn_client::path::is_valid(&path),
            Verb::Wait | Verb::Walk => cairn_client::glob::Glob::parse(&path).is_err(),
            _ => false,
        };
        replayed += 1;
        let served = async {
            if local {
                return;
            }
            if is_listing && at.is_none() {
                peer.answer_rev(1_000).await;
            }
            let mut sent = peer.answer(verb, response.clone()).await;
            let mut expected = recorded.clone();
            expected.tag = sent.tag;
            if is_listing && at.is_none() {
                expected.rev = Some(1_000);
            }
            if verb == Verb::Set && expected.value.is_none() {
                sent.value = sent.value.filter(|value| !value.is_empty());
            }
            assert_eq!(sent, expected, "{name}");
        };
        let value = recorded.value.clone().unwrap_or_default();
        let asked = async {
            match verb {
                Verb::Get => told(client.get(&path, at).await, &answer, |file| {
                    let revision = Revision(answer["rev"].as_i64().unwrap());
                    let value = latin1(&answer["value"]).unwrap();
                    let expected = File { revision, value };
                    assert_eq!(file, (revision.0 != 0).then_some(expected));
                }),
                Verb::Set => told(
                    client.set(&path, at.unwrap(), value).await,
                    &answer,
                    |revision| assert_eq!(Some(revision.0), answer["rev"].as_i64()),
                ),
                Verb::Del => told(client.del(&path, at.unwrap()).await, &answer, drop),
                Verb::Rev => told(client.rev().await, &answer, |revision| {
                    assert_eq!(Some(revision.0), answer["rev"].as_i64());
                }),
                Verb::Nop => told(client.nop().await, &answer, drop),
                Verb::Self_ => told(client.self_name().await, &answer, |name| {
                    assert_eq!(Some(name), latin1(&answer["value"]));
                }),
                Verb::Access => told(client.access(&value).await, &answer, drop),
                Verb::Stat => told(client.stat(&path, at).await, &answer, |stat| {
                    let len = int32(&answer["len"]).unwrap();
                    let expected = match answer["rev"].as_i64().unwrap() {
                        0 => Stat::Missing,
                        -2 => Stat::Directory { entries: len },
                        rev => Stat::File {
                            revision: Revision(rev),
                            len,
                        },
                    };
                    assert_eq!(stat, expected);
                }),
                Verb::Wait => told(client.wait(&path, at.unwrap()).await, &answer, |event| {
                    tell_event(&event, &answer);
                }),
                Verb::Follow => unreachable!("no real node has it"),
                Verb::Walk => match client.walk(&path, at).next().await {
                    None => assert_eq!(answer["err_code"].as_str(), Some("RANGE")),
                    Some(first) => told(first, &answer, |event| tell_event(&event, &answer)),
                },
                Verb::Getdir => match client.getdir(&path, at).next().await {
                    None => assert_eq!(answer["err_code"].as_str(), Some("RANGE")),
                    Some(first) => told(first, &answer, |name| {
                        assert_eq!(Some(name.as_str()), answer["path"].as_str());
                    }),
                },
            }
        };
        tokio::join!(served, asked);
    }
    println!("replayed {replayed} exchanges through the client");
    assert!(replayed > 150);
}
