//! `persister config check`: what would be in force, as a file that could be given with `--config`,
//! or as JSON.

use bytesize::ByteSize;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::config::args::OnDiskFullArg;
use crate::config::{Config, Endpoint};

/// A setting by its long flag; `None`: there is none in force.
type Setting = (&'static str, Option<Value>);

/// A choice by the name that it is given by.
fn named(choice: impl ValueEnum) -> Option<Value> {
    let name = choice.to_possible_value()?;
    Some(Value::from(name.get_name()))
}

impl Config {
    /// Every setting in force, secrets left out. Those that are no flags of a file are told first.
    fn in_force(&self) -> (Vec<Setting>, Vec<Setting>) {
        let flag = |name, on: bool| (name, Some(Value::from(on)));
        let size = |bytes: u64| Value::from(ByteSize::b(bytes).to_string());
        let time = |time| Value::from(humantime::format_duration(time).to_string());
        let path = |path: &std::path::Path| Value::from(path.display().to_string());
        let embedded = matches!(self.endpoint, Endpoint::Embedded { .. });
        let from = self.repair_from.iter().map(|dir| path(dir)).collect();
        let only_flags = vec![
            flag("embedded", embedded),
            match self.restore_options.by_writes {
                true => ("restore", Some(Value::from("api"))),
                false => flag("restore", self.restore),
            },
            flag("repair", self.repair),
            ("from", Some(Value::Array(from))),
            ("base", self.base.as_deref().map(path)),
            ("repair-into", self.repair_into.as_deref().map(path)),
            flag("accept-loss", self.accept_loss),
            flag("take-over", self.restore_options.take_over),
        ];
        let (cluster, listen) = match &self.endpoint {
            Endpoint::Remote(address) => (Some(address.to_string()), None),
            Endpoint::Embedded { listen, .. } => (None, Some(listen.to_string())),
        };
        let retention = &self.maintenance.retention;
        let retain = match (retention.age, retention.bytes) {
            (Some(age), _) => Some(time(age)),
            (None, Some(_)) => None,
            (None, None) => Some(Value::from("all")),
        };
        let on_disk_full = if self.wait_for_room {
            OnDiskFullArg::Wait
        } else {
            OnDiskFullArg::Exit
        };
        let options = &self.restore_options;
        let with = (!options.with.is_empty()).then(|| json!(options.with));
        let settings = vec![
            ("id", Some(json!(self.id))),
            ("cluster", cluster.map(Value::from)),
            ("embedded-listen", listen.map(Value::from)),
            ("journal", Some(path(&self.journal))),
            ("mirror", self.mirror.and_then(named)),
            ("on-disk-full", named(on_disk_full)),
            ("segment-bytes", Some(size(self.options.segment_bytes))),
            ("checkpoint-every", Some(size(self.maintenance.every_bytes))),
            ("retain", retain),
            ("retain-bytes", retention.bytes.map(size)),
            ("restore-wait", options.wait_for_others.map(time)),
            ("restore-with", with),
            ("in-flight", options.in_flight.map(Value::from)),
            (
                "max-value-bytes",
                options.max_value_bytes.map(|bytes| size(bytes as u64)),
            ),
            ("listen", self.listen.as_ref().map(|at| json!(at))),
            ("ready-lag", Some(time(self.ready_lag))),
            ("log-format", named(self.log_format)),
        ];
        (only_flags, settings)
    }

    /// A file with all settings, for people and for `--config`.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let (only_flags, settings) = self.in_force();
        let mut text = String::from("# given as flags only\n");
        for (name, value) in only_flags {
            let value = value.filter(|value| *value != json!([]));
            let value = value.map_or("none".to_owned(), |value| value.to_string());
            text.push_str(&format!("# {name}: {value}\n"));
        }
        text.push('\n');
        for (name, value) in settings {
            text.push_str(&match value {
                // A string of JSON is one of TOML, too.
                Some(value) => format!("{name} = {value}\n"),
                None => format!("# {name}: none\n"),
            });
        }
        text
    }

    /// One JSON object with all settings; null where there is none in force.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (only_flags, settings) = self.in_force();
        let all = only_flags.into_iter().chain(settings);
        Value::Object(
            all.map(|(name, value)| (name.to_owned(), value.unwrap_or_default()))
                .collect::<Map<_, _>>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CommandLine, Settings};

    /// What is printed can be read again, and says the same.
    #[test]
    fn a_printed_configuration_is_a_file_of_the_same_configuration() {
        let secret = "hush";
        for more in [
            &[][..],
            &["--embedded", "-l", "localhost:0", "--rwsecret", secret],
            &["--retain", "all", "--listen", "localhost:9346"],
            &["--retain-bytes", "1GiB", "--on-disk-full", "wait"],
            &["-a", "doozer:?ca=10.0.0.1&sk=hush", "--mirror", "watermark"],
            &[
                "--in-flight",
                "3",
                "--max-value-bytes",
                "5000B",
                "-j",
                "a \"b\"",
            ],
        ] {
            let read = |line: &[&str]| CommandLine::read(line).expect("a valid line");
            let line = [&["persister", "--id", "3"], more].concat();
            let config = Config::new(read(&line), Settings::default()).expect("valid");
            let text = config.to_toml();
            assert!(!text.contains(secret), "{text}");
            let mut file: Settings = toml::from_str(&text).expect("a valid file");
            assert_eq!(file.id, Some(3));
            if config.to_json()["embedded"] == json!(true) {
                let again = read(&["persister", "--embedded"]);
                let again = Config::new(again, file).expect("valid");
                assert_eq!(again.to_json(), config.to_json());
                continue;
            }
            // Its secret is shown as `***`.
            file.cluster = line_cluster(&line).or(file.cluster);
            let again = Config::new(read(&["persister"]), file).expect("valid");
            assert_eq!(again.to_json(), config.to_json(), "{text}");
        }
    }

    fn line_cluster(line: &[&str]) -> Option<crate::cluster::address::Address> {
        CommandLine::read(line).ok()?.settings.cluster
    }
}
