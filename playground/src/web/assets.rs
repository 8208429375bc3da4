//! The files of the page, in one table.

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

use crate::web::answer::Refused;
use crate::web::shared::Shared;

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A script of the page: its path and its content.
macro_rules! script {
    ($name:literal) => {
        (
            concat!("/", $name),
            SCRIPT,
            include_str!(concat!("../../assets/", $name)),
        )
    };
}

/// Path, media type, content. What is not in it is not served.
const ASSETS: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("../../assets/index.html")),
    ("/app.css", STYLE, include_str!("../../assets/app.css")),
    script!("actions.js"),
    script!("api.js"),
    script!("app.js"),
    script!("client.js"),
    script!("dialogs.js"),
    script!("diff.js"),
    script!("dom.js"),
    script!("feed.js"),
    script!("history.js"),
    script!("keyboard.js"),
    script!("machines.js"),
    script!("past.js"),
    script!("plot.js"),
    script!("proof.js"),
    script!("return.js"),
    script!("tour.js"),
    script!("words.js"),
];

/// A file of the page.
pub(super) async fn asset(State(shared): State<Shared>, uri: Uri) -> Response {
    let Some((path, media, content)) = ASSETS.iter().find(|(path, ..)| *path == uri.path()) else {
        return Refused::new(StatusCode::NOT_FOUND, "there is no such page").into_response();
    };
    let media = [(header::CONTENT_TYPE, *media)];
    let Some(directory) = shared.assets else {
        return (media, *content).into_response();
    };
    // The name is one of the table's, so that nothing of a request becomes a path.
    let name = match *path {
        "/" => "index.html",
        path => path.trim_start_matches('/'),
    };
    match std::fs::read_to_string(directory.join(name)) {
        Ok(content) => (media, content).into_response(),
        Err(error) => {
            let says = format!("--assets: {name}: {error}");
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, says).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() -> std::io::Result<()> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");
        let mut files = BTreeSet::new();
        for entry in std::fs::read_dir(directory)? {
            files.insert(entry?.file_name().to_string_lossy().into_owned());
        }
        let served = ASSETS.iter().map(|(path, ..)| match *path {
            "/" => "index.html".to_owned(),
            path => path.trim_start_matches('/').to_owned(),
        });
        assert_eq!(files, served.collect());
        Ok(())
    }
}
