//! One endpoint for EC2, STS, Route 53, Parameter Store and Secrets Manager, told apart as their requests differ: by path, by
//! target, or by `Version`.

use std::{io, net::TcpListener};

use crate::{
    credentials, ec2,
    fault::Service,
    form::Form,
    http::{self, Answer, Call, Refusal, Site, Subject},
    route53, sts, vault,
    world::World,
};

/// Serves the APIs on `listener` until the future is dropped.
///
/// # Errors
/// When the listener can't be handed to the runtime.
pub async fn serve(world: World, listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    http::serve(tokio::net::TcpListener::from_std(listener)?, Aws { world }).await;
    Ok(())
}

#[derive(Clone)]
struct Aws {
    world: World,
}

impl Site for Aws {
    fn world(&self) -> &World {
        &self.world
    }

    fn subject(&self, call: &Call) -> Option<Subject> {
        let service = service(call);
        let (target, name) = match service {
            Service::Route53 => (call.path.clone(), route53::action(call).to_owned()),
            Service::Ssm | Service::SecretsManager => {
                let action = vault::target(call).map_or("", |(_, action)| action).to_owned();
                (action.clone(), action)
            }
            _ => {
                let action = form(call).get("Action").unwrap_or_default().to_owned();
                let region = credentials::region(&call.headers).unwrap_or_default();
                let name = format!("{action}@{region}");
                (action, name)
            }
        };
        Some(Subject { service, target, name })
    }

    fn answer(&self, call: &Call) -> Answer {
        match service(call) {
            Service::Route53 => route53::answer(&self.world, call),
            Service::Ssm | Service::SecretsManager => vault::answer(&self.world, call),
            Service::Sts => sts::answer(&self.world, call, &form(call)),
            _ => ec2::answer(&self.world, call, &form(call)),
        }
    }

    fn refuse(&self, call: &Call, refusal: Refusal) -> Answer {
        match service(call) {
            Service::Route53 => route53::refuse(&self.world, refusal),
            Service::Ssm | Service::SecretsManager => vault::refuse(refusal),
            Service::Sts => sts::refuse(&self.world, refusal),
            _ => ec2::refuse(&self.world, refusal),
        }
    }
}

fn service(call: &Call) -> Service {
    if call.path.starts_with(route53::PREFIX) {
        return Service::Route53;
    }
    if let Some((service, _)) = vault::target(call) {
        return service;
    }
    let form = form(call);
    match (form.get("Version"), form.get("Action")) {
        (Some("2011-06-15"), _) | (None, Some("GetCallerIdentity" | "AssumeRole")) => Service::Sts,
        _ => Service::Ec2,
    }
}

/// The query APIs take their parameters from the body, or from the query of a GET.
fn form(call: &Call) -> Form {
    match std::str::from_utf8(&call.body) {
        Ok(body) if !body.is_empty() => Form::parse(body),
        _ => Form::parse(&call.query),
    }
}
