//! `tagalong config`: what is in force, where it comes from, what is wrong with it, and what it needs of the instance's role.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    Code,
    args::{Args, ConfigVerb},
    doctor::keys::exposure,
    known::keyless_tag,
    print,
    wiring::{failure_of, on_host, read},
};
use crate::{
    backend::rfc2136::Keys,
    config::{
        BackendConfig, Config, KeyPlace, Keytab, effective,
        iam::Policy,
        settings::{ConfigError, Origin, Settings, keyless_tags},
    },
    core::facts::{Facts, TagSource},
    ec2::imds::Patience,
    keys::file::KeyFile,
    ports::{KeySource as _, chain, topic::Topic},
    store::Access,
};

pub(super) fn run(args: &Args, verb: ConfigVerb, _started: Instant) -> Code {
    let unusable = |errors| (errors, Topic::Configuration);
    let checked = complete(args).map_err(unusable).and_then(|(settings, facts)| {
        if verb == ConfigVerb::Show {
            show(args, &settings);
        }
        let config = Config::of(&settings).map_err(unusable)?;
        let errors = match verb {
            ConfigVerb::Check => key_errors(&settings, &config),
            ConfigVerb::Show | ConfigVerb::IamPolicy => Vec::new(),
        };
        if verb == ConfigVerb::IamPolicy {
            iam_policy(&config, facts.as_ref());
        }
        if errors.is_empty() { Ok(config) } else { Err((errors, Topic::Keys)) }
    });
    if verb == ConfigVerb::Check {
        check(args, checked.as_ref().map_err(|(errors, _)| errors));
    }
    match checked {
        Ok(_) => Code::Done,
        Err((errors, topic)) => {
            errors.iter().for_each(print::error);
            print::see(topic);
            Code::Failed
        }
    }
}

/// The files' settings, with what the instance's tags add; and the instance, if this is one that tells.
fn complete(args: &Args) -> Result<(Settings, Option<Facts>), Vec<ConfigError>> {
    let mut settings = read(args)?;
    let facts = add_tags(args, &mut settings)?;
    Ok((settings, facts))
}

fn iam_policy(config: &Config, facts: Option<&Facts>) {
    let partition = facts.map_or("aws", |facts| &facts.identity.partition);
    // Tags that the metadata cannot hold, which EC2 did not give either, are needed all the same.
    let read = facts.filter(|facts| facts.tags.unread.is_none());
    let tags = read.map_or(TagSource::Unavailable, |facts| facts.tags.source);
    let policy = Policy::of(config, partition, tags);
    if policy.statement.is_empty() {
        print::notice("this configuration calls nothing of AWS");
    }
    print::data(serde_json::to_string_pretty(&policy).unwrap_or_default());
}

/// What is wrong with keys that are in files; what is only unwise about one is said. What AWS keeps, `doctor` looks at.
fn key_errors(settings: &Settings, config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for (backend, config) in &config.backends {
        let BackendConfig::Rfc2136 { keys, zone_keys, keytab, .. } = config else { continue };
        let origin_of = |word: &str| {
            let setting = settings.get(&format!("backend.{backend}.{word}"));
            setting.map_or(Origin::Default, |setting| setting.origin.clone())
        };
        if let Some(Keytab { path, .. }) = keytab {
            let file = KeyFile::keytab(path);
            match file.text() {
                Ok(_) => file.exposure().iter().for_each(print::notice),
                Err(error) => {
                    let what = chain(&error).join(": ");
                    errors.push(ConfigError { origin: origin_of("keytab"), what });
                }
            }
        }
        let Some(place) = keys else { continue };
        let file = match place {
            KeyPlace::File(path) => KeyFile::at(path),
            KeyPlace::Credential(name) => KeyFile::credential(name),
            KeyPlace::Parameter(_) | KeyPlace::Secret(_) => continue,
        };
        match file.text().and_then(|text| Keys::check(&text, zone_keys, &file.place())) {
            Ok(()) => exposure(place).iter().for_each(print::notice),
            Err(error) => {
                let what = chain(&error).join(": ");
                errors.push(ConfigError { origin: origin_of(place.word()), what });
            }
        }
    }
    errors
}

fn check(args: &Args, checked: Result<&Config, &Vec<ConfigError>>) {
    #[derive(Default, Serialize)]
    struct Checked {
        ok: bool,
        records: usize,
        backends: usize,
        errors: Vec<Wrong>,
    }
    #[derive(Serialize)]
    struct Wrong {
        origin: String,
        what: String,
    }
    let told = match checked {
        Ok(config) => Checked {
            ok: true,
            records: config.records.len(),
            backends: config.backends.len(),
            errors: Vec::new(),
        },
        Err(errors) => Checked {
            errors: errors
                .iter()
                .map(|error| Wrong { origin: error.origin.to_string(), what: error.what.clone() })
                .collect(),
            ..Checked::default()
        },
    };
    if args.json {
        print::data(serde_json::to_string_pretty(&told).unwrap_or_default());
    } else if told.ok {
        print::data(format!(
            "the configuration can be used: {} record(s), {} backend(s)",
            told.records, told.backends
        ));
    }
}

/// Adds what the instance's tags say, if they can be read at once: the files can be checked anywhere.
fn add_tags(args: &Args, settings: &mut Settings) -> Result<Option<Facts>, Vec<ConfigError>> {
    let one_try =
        Patience { attempts: 1, limit: Duration::from_millis(500), backoff: Duration::ZERO };
    let facts = on_host(settings.clone(), args, Access::ReadOnly, one_try, async |host| {
        host.facts(tokio::time::Instant::now() + Duration::from_secs(1)).await
    });
    // What is wrong with the files themselves is told when they are checked.
    let Ok((facts, _)) = facts else { return Ok(None) };
    let unread = match &facts {
        Ok(facts) => {
            settings.overlay_tags(&facts.tags.values)?;
            let discovery = ["discovery.tag", "discovery.draining"]
                .map(|key| settings.text(key).unwrap_or_default());
            let keyless = keyless_tags(facts.tags.values.keys(), discovery);
            keyless.map(keyless_tag).for_each(print::notice);
            facts.tags.unread.as_ref().map(failure_of)
        }
        Err(failure) => Some(failure.clone()),
    };
    if let Some(why) = unread {
        print::notice(format!("instance tags are not taken into account: {why}"));
    }
    Ok(facts.ok())
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
