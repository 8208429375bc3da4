//! The calls of the page. Each reads what it may ask for, asks the playground, and answers in JSON.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::play::actions::Action;
use crate::play::clients::WriteRequest;
use crate::restore::RestoreRequest;
use crate::web::answer::Refused;
use crate::web::query::Query;
use crate::web::shared::Shared;

/// How many changes or keys a call gives unless it says otherwise.
const COUNT: u64 = 100;

type Answer = Result<Response, Refused>;
type Body<T> = Result<Json<T>, JsonRejection>;

pub(super) async fn unknown() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "there is no such call")
}

pub(super) async fn wrong_method() -> Refused {
    let says = "this call has another method: what changes something is a POST";
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, says)
}

pub(super) async fn act(State(shared): State<Shared>, action: Body<Action>) -> Answer {
    let Json(action) = action?;
    let op = shared.play()?.act(action)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "op": op }))).into_response())
}

pub(super) async fn write(State(shared): State<Shared>, request: Body<WriteRequest>) -> Answer {
    let Json(request) = request?;
    Ok(Json(shared.play()?.write(request).await?).into_response())
}

pub(super) async fn restore(State(shared): State<Shared>, asked: Body<RestoreRequest>) -> Answer {
    let Json(asked) = asked?;
    Ok(Json(shared.play()?.bring_back(asked).await?).into_response())
}

pub(super) async fn changes(State(shared): State<Shared>, uri: Uri) -> Answer {
    let query = Query::of(&uri)?;
    let (from, count) = (query.number("from")?, query.number("count")?);
    let past = shared.play()?.past();
    let changes = past
        .changes(from.unwrap_or(0), count.unwrap_or(COUNT))
        .await?;
    Ok(Json(changes).into_response())
}

pub(super) async fn keys(State(shared): State<Shared>, uri: Uri) -> Answer {
    let query = Query::of(&uri)?;
    let (at, count) = (query.moment("at")?, query.number("count")?);
    let text = |name| query.text(name).unwrap_or_default();
    let past = shared.play()?.past();
    let count = count.unwrap_or(COUNT);
    let keys = past.keys(at, text("prefix"), text("after"), count).await?;
    Ok(Json(keys).into_response())
}

pub(super) async fn diff(State(shared): State<Shared>, uri: Uri) -> Answer {
    let query = Query::of(&uri)?;
    let (from, to) = (query.moment("from")?, query.moment("to")?);
    let diff = shared.play()?.past().diff(from, to).await?;
    Ok(Json(diff).into_response())
}

pub(super) async fn log(State(shared): State<Shared>, Path(id): Path<String>, uri: Uri) -> Answer {
    let from = Query::of(&uri)?.number("from")?;
    let part = shared.play()?.log(&id, from.unwrap_or(0))?;
    Ok(Json(part).into_response())
}
