//! What happens in the world, in plain words.

use tokio::sync::broadcast::error::RecvError;

use crate::play::inner::Play;
use crate::told::feed::{Kind, Tone};
use crate::world::decide::Send;
use crate::world::feed::{Event, Feed, What};

/// Listens to the world for ever.
pub(super) async fn narrate(play: Play, world: Feed) {
    let mut events = world.listen();
    loop {
        match events.recv().await {
            Ok(event) => tell(&play, event),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn tell(play: &Play, event: Event) {
    let id = &event.machine;
    let target = play.target(id).ok();
    if let Some(target) = target {
        target.note(|noted| match &event.what {
            What::Started { command, .. } => {
                noted.wiped = false;
                noted.started = Some(command.clone());
            }
            What::Deleted => noted.wiped = true,
            _ => {}
        });
    }
    if let (What::Ended { status }, Some(target)) = (&event.what, target)
        && target.kind == Kind::Node
    {
        play.past()
            .mark("node-died", format!("{id} ended: {status}"));
    }
    let kind = target.map_or(Kind::Restore, |target| target.kind);
    if let Some((tone, says, command)) = words(id, event.what) {
        play.feed().tell(kind, tone, says, command);
    }
}

pub(crate) fn words(id: &str, what: What) -> Option<(Tone, String, Option<String>)> {
    Some(match what {
        What::Started { command, .. } => (Tone::Plain, format!("{id} was started"), Some(command)),
        What::Ready { after } => {
            let says = format!("{id} is ready after {:.1} s", after.as_secs_f64());
            (Tone::Ok, says, None)
        }
        What::Signalled { signal, pid } => {
            let (tone, what, option) = match signal {
                Send::Kill => (Tone::Bad, "was killed", "-9"),
                Send::Stop => (Tone::Warn, "was paused", "-STOP"),
                Send::Cont => (Tone::Ok, "goes on", "-CONT"),
                Send::Term => (Tone::Plain, "was asked to end", "-TERM"),
                Send::Int => (Tone::Plain, "was asked to end", "-INT"),
                Send::Hup => (Tone::Plain, "was asked to end", "-HUP"),
            };
            (
                tone,
                format!("{id} {what}"),
                Some(format!("kill {option} {pid}")),
            )
        }
        // That it was killed has been said.
        What::Ended { status } if status.starts_with("signal: 9") => return None,
        What::Ended { status } => (Tone::Warn, format!("{id} ended: {status}"), None),
        What::Deleted => (Tone::Bad, format!("the disk of {id} was deleted"), None),
        // Without the end of the log, which the page shows beside it.
        What::Failed { why } => {
            let brief = why.split("; the end of its log").next().unwrap_or_default();
            (Tone::Bad, brief.to_owned(), None)
        }
    })
}
