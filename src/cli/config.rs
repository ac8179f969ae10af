//! `tagalong config show` and `check`: what is in force, where it comes from, and what is wrong with it.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    Code,
    args::{Args, ConfigVerb},
    print,
    wiring::{failure_of, on_host, settings},
};
use crate::{
    config::{Config, effective, settings::Settings},
    ec2::imds::Patience,
    store::Access,
};

pub(super) fn run(args: &Args, verb: ConfigVerb, _started: Instant) -> Code {
    let Some(mut settings) = settings(args) else { return Code::Failed };
    if !add_tags(args, &mut settings) {
        return Code::Failed;
    }
    if verb == ConfigVerb::Show {
        show(args, &settings);
    }
    match Config::of(&settings) {
        Ok(config) => {
            if verb == ConfigVerb::Check {
                print::data(format!(
                    "the configuration can be used: {} record(s), {} backend(s)",
                    config.records.len(),
                    config.backends.len()
                ));
            }
            Code::Done
        }
        Err(errors) => {
            errors.iter().for_each(print::error);
            Code::Failed
        }
    }
}

/// Adds what the instance's tags say, if they can be read at once: the files can be checked anywhere.
fn add_tags(args: &Args, settings: &mut Settings) -> bool {
    let one_try =
        Patience { attempts: 1, limit: Duration::from_millis(500), backoff: Duration::ZERO };
    let facts =
        on_host(settings.clone(), &args.state_dir, Access::ReadOnly, one_try, async |host| {
            host.facts(tokio::time::Instant::now() + Duration::from_secs(1)).await
        });
    // What is wrong with the files themselves is told when they are checked.
    let Ok((facts, _)) = facts else { return true };
    match facts {
        Ok(facts) => match settings.overlay_tags(&facts.tags.values) {
            Ok(()) => {
                if let Some(why) = facts.tags.unread.as_ref().map(failure_of) {
                    print::notice(format!("instance tags are not taken into account: {why}"));
                }
                true
            }
            Err(errors) => {
                errors.iter().for_each(print::error);
                false
            }
        },
        Err(failure) => {
            print::notice(format!("instance tags are not taken into account: {failure}"));
            true
        }
    }
}

fn show(args: &Args, settings: &Settings) {
    #[derive(Serialize)]
    struct Row {
        key: String,
        value: String,
        origin: String,
    }
    let rows = effective(settings);
    if args.json {
        let rows = rows.into_iter().map(|(key, value, origin)| Row {
            key,
            value,
            origin: origin.to_string(),
        });
        print::data(serde_json::to_string_pretty(&rows.collect::<Vec<_>>()).unwrap_or_default());
        return;
    }
    let width = rows.iter().map(|(key, value, _)| key.len() + value.len() + 3).max().unwrap_or(0);
    for (key, value, origin) in rows {
        let text = format!("{key} = {value}");
        print::data(format!("{text:width$}  # {origin}"));
    }
}
