//! A drill's report as one page of HTML that needs nothing else: to be mailed, printed, kept.
//!
//! Pure. Its size is bounded whatever the drill did: of the writes of one column of the plot only
//! the fastest and the slowest of each outcome are drawn.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::drill::report::{Down, Report};
use crate::ledger::audit::Tally;
use crate::ledger::outcome::Class;
use crate::ledger::times::Point;

/// The plot's size, in units of its own.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 260.0;

/// Writes are drawn in so many columns.
const COLUMNS: usize = 480;

/// The shortest and the longest wait that the plot shows, as powers of ten of a second.
const FASTEST: i32 = -4;
const SLOWEST: i32 = 2;

/// The height of a machine's lane below the plot.
const LANE: f64 = 16.0;

/// What clients were told, in the order in which it is drawn: the best news lowest.
const OUTCOMES: [(Class, &str, &str); 4] = [
    (Class::Durable, "durable", "acknowledged"),
    (Class::Applied, "applied", "in effect, unconfirmed"),
    (Class::Unknown, "unknown", "unknown"),
    (Class::NotApplied, "not", "not applied"),
];

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--page:#fff;--line:#d0d7de;\
--durable:#0969da;--applied:#bf8700;--unknown:#6e7781;--not:#cf222e;--down:#cf222e}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--page:#0d1117;\
--line:#30363d;--durable:#58a6ff;--applied:#e3b341;--unknown:#8b949e;--not:#ff7b72;\
--down:#ff7b72}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);\
max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem}h2{font-size:1.1rem;margin-top:2rem}\
.passed{color:#1a7f37}.failed{color:var(--not)}\
@media(prefers-color-scheme:dark){.passed{color:#3fb950}}\
table{border-collapse:collapse}td,th{text-align:left;padding:.2rem 1rem .2rem 0;\
border-bottom:1px solid var(--line);vertical-align:top}\
.n{text-align:right;font-variant-numeric:tabular-nums}\
.plot{overflow-x:auto}svg{width:100%;min-width:40rem;height:auto}\
svg text{font-size:11px;fill:var(--soft)}.grid{stroke:var(--line)}\
.write{stroke-width:2.5;stroke-linecap:round}\
.durable{stroke:var(--durable)}.applied{stroke:var(--applied)}\
.unknown{stroke:var(--unknown)}.not{stroke:var(--not)}\
.shade{fill:var(--down);opacity:.08}.lane{fill:var(--down);opacity:.6}\
.key{display:inline-block;width:1.2em;height:.25em;margin-right:.4em;vertical-align:middle;\
background:currentColor}pre{white-space:pre-wrap;overflow-wrap:anywhere}";

/// The page.
pub(super) fn page(report: &Report, about: &str, points: &[Point]) -> String {
    let mut page = String::new();
    // A string takes whatever is written to it.
    let _ = write_page(&mut page, report, about, points);
    page
}

fn write_page(page: &mut String, report: &Report, about: &str, points: &[Point]) -> fmt::Result {
    let (class, verdict) = match report.passed {
        true => ("passed", "passed"),
        false => ("failed", "FAILED"),
    };
    let name = Text(&report.drill);
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>{name}: {verdict}</title>\n<style>{STYLE}</style>\n\
         <h1>{name}: <span class=\"{class}\">{verdict}</span></h1>\n<p>{}.</p>\n",
        Text(about)
    )?;
    let Report {
        rounds,
        rounds_asked,
        took_s,
        seed,
        shape,
        ..
    } = report;
    let liar = match report.liar {
        true => " with a persister that lies",
        false => "",
    };
    writeln!(
        page,
        "<p>{rounds} of {rounds_asked} rounds on {shape}{liar}, {took_s:.1} s, \
         <code>--seed {seed}</code>.</p>"
    )?;
    if report.in_memory {
        page.push_str(
            "<p>The disks of this drill were in memory, where an fsync is nothing.</p>\n",
        );
    }
    if let Some(failed) = &report.failed {
        writeln!(page, "<pre class=\"failed\">{}</pre>", Text(failed))?;
    }
    audit(page, report)?;
    plot(page, report, points)?;
    story(page, report)
}

fn audit(page: &mut String, report: &Report) -> fmt::Result {
    page.push_str(
        "<h2>What clients were told, and what was there afterwards</h2>\n<table>\
         <tr><th>told<th class=\"n\">writes<th class=\"n\">there<th class=\"n\">gone<th>\n",
    );
    let audit = &report.audit;
    for (told, tally, must) in audit.rows() {
        let Tally { writes, there } = tally;
        writeln!(
            page,
            "<tr><td>{told}<td class=\"n\">{writes}<td class=\"n\">{there}\
             <td class=\"n\">{}<td>{must}",
            tally.gone()
        )?;
    }
    page.push_str("</table>\n");
    if audit.faults > 0 {
        writeln!(
            page,
            "<h2 class=\"failed\">{} keys are wrong</h2>\n<ul>",
            audit.faults
        )?;
        for fault in &audit.told {
            writeln!(
                page,
                "<li><code>{}</code>: {}",
                Text(&fault.key),
                Text(&fault.says)
            )?;
        }
        page.push_str("</ul>\n");
    }
    Ok(())
}

/// Where a time stands.
fn x(at: f64, took: f64) -> f64 {
    WIDTH * (at / took).clamp(0.0, 1.0)
}

/// Where a wait stands, in seconds: higher is longer.
fn y(wait: f64) -> f64 {
    let (from, to) = (f64::from(FASTEST), f64::from(SLOWEST));
    HEIGHT * (1.0 - (wait.max(1e-9).log10().clamp(from, to) - from) / (to - from))
}

fn plot(page: &mut String, report: &Report, points: &[Point]) -> fmt::Result {
    // Of nothing that took any time there is nothing to see.
    let took = report.took_s.max(1e-3);
    let machines = lanes(&report.down);
    let lanes = f64::from(u32::try_from(machines.len()).unwrap_or(u32::MAX)) * LANE;
    let height = HEIGHT + 24.0 + lanes;
    page.push_str("<h2>How long each write took</h2>\n<p>");
    for (_, class, told) in OUTCOMES {
        write!(
            page,
            "<span style=\"color:var(--{class})\"><span class=\"key\"></span></span>{told} &emsp; "
        )?;
    }
    writeln!(
        page,
        "shaded: something was down</p>\n<div class=\"plot\" tabindex=\"0\">\
         <svg viewBox=\"-80 -8 {} {}\" role=\"img\" aria-label=\"Waits over time, by outcome; \
         the tables say the same in numbers\">",
        WIDTH + 88.0,
        height + 16.0
    )?;
    for down in &report.down {
        let (from, to) = (x(down.from_s, took), x(down.to_s.unwrap_or(took), took));
        let width = (to - from).max(1.0);
        writeln!(
            page,
            "<rect class=\"shade\" x=\"{from:.1}\" y=\"0\" width=\"{width:.1}\" \
             height=\"{HEIGHT}\"/>"
        )?;
        let lane = machines.iter().position(|name| **name == down.machine);
        let lane = f64::from(u32::try_from(lane.unwrap_or(0)).unwrap_or(0));
        writeln!(
            page,
            "<rect class=\"lane\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{}\">\
             <title>{}</title></rect>",
            HEIGHT + 24.0 + lane * LANE,
            LANE - 6.0,
            Text(&down.machine)
        )?;
    }
    for power in FASTEST..=SLOWEST {
        let at = y(10f64.powi(power));
        let name = match power {
            ..=-4 => "0.1 ms".to_owned(),
            -3..=-1 => format!("{} ms", 10i32.pow(u32::try_from(power + 3).unwrap_or(0))),
            0.. => format!("{} s", 10i32.pow(u32::try_from(power).unwrap_or(0))),
        };
        writeln!(
            page,
            "<line class=\"grid\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            at + 4.0
        )?;
    }
    for (class, name, _) in OUTCOMES {
        writes(page, points, class, name, took)?;
    }
    for (lane, machine) in (0u32..).zip(&machines) {
        writeln!(
            page,
            "<text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            HEIGHT + 33.0 + f64::from(lane) * LANE,
            Text(machine)
        )?;
    }
    writeln!(
        page,
        "<text x=\"0\" y=\"{0:.1}\">0 s</text><text x=\"{WIDTH}\" y=\"{0:.1}\" \
         text-anchor=\"end\">{took:.1} s</text></svg></div>",
        HEIGHT + 16.0
    )?;
    waits(page, report)
}

/// The machines that were down, each once, in the order of their first time.
fn lanes(downs: &[Down]) -> Vec<&String> {
    let mut machines: Vec<&String> = Vec::new();
    for down in downs {
        if !machines.contains(&&down.machine) {
            machines.push(&down.machine);
        }
    }
    machines
}

/// In each column a line from the fastest write of a class to the slowest.
fn writes(page: &mut String, points: &[Point], class: Class, name: &str, took: f64) -> fmt::Result {
    let mut columns: Vec<Option<(Duration, Duration)>> = vec![None; COLUMNS];
    let width = WIDTH / f64::from(u32::try_from(COLUMNS).unwrap_or(1));
    for point in points.iter().filter(|point| point.class == class) {
        let at = x(point.at.as_secs_f64(), took) / width;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the plot
        let column = (at as usize).min(COLUMNS - 1);
        let known = columns[column].get_or_insert((point.took, point.took));
        *known = (known.0.min(point.took), known.1.max(point.took));
    }
    for (column, extremes) in (0u32..).zip(columns) {
        let Some((fastest, slowest)) = extremes else {
            continue;
        };
        let at = (f64::from(column) + 0.5) * width;
        writeln!(
            page,
            "<line class=\"write {name}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" \
             y2=\"{:.1}\"/>",
            y(fastest.as_secs_f64()),
            y(slowest.as_secs_f64())
        )?;
    }
    Ok(())
}

fn waits(page: &mut String, report: &Report) -> fmt::Result {
    let (durable, requests) = (report.durable, report.requests);
    writeln!(
        page,
        "<p>Failed requests: {} of {} ({:.2} %). Longest wait for one: {:.1} s. Longest time \
         without an acknowledged write, for a writer: {:.1} s.</p>",
        requests.failed,
        requests.writes,
        requests.failed_fraction * 100.0,
        requests.longest_wait_s,
        requests.longest_outage_s
    )?;
    if !report.members.is_empty() {
        writeln!(page, "<p>Members: {}.</p>", report.changes())?;
    }
    writeln!(
        page,
        "<p>Acknowledged after {:.1} ms (half of them), {:.1} ms (99 of 100), {:.1} ms (all). The \
         servers were back after at most {:.1} s.</p>\n<table><tr><th>writer\
         <th class=\"n\">acknowledged<th class=\"n\">other answers\
         <th class=\"n\">longest outage<th class=\"n\">longest wait",
        durable.p50_ms, durable.p99_ms, durable.max_ms, report.longest_back_s
    )?;
    for writer in &report.writers {
        writeln!(
            page,
            "<tr><td>client-{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{:.2} s\
             <td class=\"n\">{:.2} s",
            writer.writer,
            writer.acknowledged,
            writer.errors,
            writer.longest_s,
            writer.longest_wait_s
        )?;
    }
    page.push_str("</table>\n");
    Ok(())
}

fn story(page: &mut String, report: &Report) -> fmt::Result {
    page.push_str("<h2>What happened</h2>\n<p>Each step at the time when it began.</p>\n<table>\n");
    for event in &report.story {
        writeln!(
            page,
            "<tr><td class=\"n\">{:.2} s<td>{}",
            event.at_s,
            Text(&event.says)
        )?;
    }
    page.push_str("</table>\n");
    if report.story_untold > 0 {
        writeln!(page, "<p>and {} steps more</p>", report.story_untold)?;
    }
    page.push_str("</html>\n");
    Ok(())
}

/// Text within HTML.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                // A log may have colours, and worse.
                char if char.is_control() && char != '\n' => f.write_char('\u{fffd}')?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::options::Shape;
    use crate::drill::report::Event;

    fn report() -> Report {
        Report {
            took_s: 10.0,
            failed: Some("<script>alert(1)</script> & \u{1b}[31m".to_owned()),
            story: vec![Event {
                at_s: 1.0,
                says: "kill 1 of persisters: persister-2".to_owned(),
            }],
            down: vec![Down {
                machine: "persister-2".to_owned(),
                from_s: 1.0,
                to_s: None,
            }],
            ..Report::empty("<mine>.toml", Shape::Lite)
        }
    }

    #[test]
    fn what_a_log_says_is_text() {
        let page = page(&report(), "a < b", &[]);
        assert!(
            !page.contains("<script>") && !page.contains('\u{1b}'),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;") && page.contains("a &lt; b"));
        assert!(page.contains("&lt;mine&gt;.toml: <span class=\"failed\">FAILED"));
        assert!(page.contains("persister-2"));
        // It asks nobody for anything.
        assert!(!page.contains("http") && !page.contains("src="), "{page}");
    }

    #[test]
    fn a_million_writes_are_no_larger_than_a_thousand() {
        let point = |n: u64| Point {
            writer: 1,
            at: Duration::from_micros(n * 10),
            took: Duration::from_micros(100 + n % 977),
            class: if n.is_multiple_of(2) {
                Class::Durable
            } else {
                Class::Unknown
            },
        };
        let points: Vec<Point> = (0..1_000_000).map(point).collect();
        let page = page(&report(), "a", &points);
        let drawn = page.matches("class=\"write").count();
        assert_eq!(drawn, 2 * COLUMNS);
        assert!(page.len() < 200 << 10, "{} bytes", page.len());
    }

    #[test]
    fn waits_stand_where_they_belong() {
        assert!(y(0.0) >= y(1e-4) && y(1e-4) > y(1e-3) && y(1.0) > y(100.0));
        assert!((y(1e9) - y(100.0)).abs() < 1e-9 && y(100.0).abs() < 1e-9);
        assert!((x(20.0, 10.0) - WIDTH).abs() < 1e-9);
    }
}
