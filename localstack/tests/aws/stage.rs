//! A running sandbox with what most tests need in it.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
};

use sandbox::{
    imds::Whom,
    instance::Instance,
    running::{Listen, Running},
    world::World,
    zone::Zone,
};

use crate::client::{Ask, Reply};

pub(crate) const WEB: &str = "i-0aaaaaaaaaaaaaaa1";
pub(crate) const ZONE: &str = "Z1";

/// One instance (10.0.1.23, its own IMDS), one private zone `corp.test.`, everything served on loopback.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) running: Running,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let world = World::new();
        world.set_throttling(false);
        world.put_instance(web());
        world.put_zone(Zone::new(ZONE, "corp.test").vpc("us-east-1", "vpc-0123456789abcdef0"));
        Self::of(world)
    }

    pub(crate) fn of(world: World) -> Self {
        let listen = Listen {
            imds: vec![(loopback(), Whom::Instance(WEB.to_owned()))],
            aws: Some(loopback()),
            control: Some(loopback()),
        };
        Self { running: Running::start(world.clone(), listen).unwrap(), world }
    }

    pub(crate) fn imds(&self) -> SocketAddr {
        self.running.imds()[0]
    }

    pub(crate) fn aws(&self) -> SocketAddr {
        self.running.aws().unwrap()
    }

    pub(crate) fn token(&self) -> String {
        let ask = Ask::new("PUT", "/latest/api/token")
            .header("X-aws-ec2-metadata-token-ttl-seconds", "60");
        let reply = ask.to(self.imds());
        assert_eq!(reply.status, 200);
        reply.body
    }

    /// A GET with a fresh token.
    pub(crate) fn metadata(&self, path: &str) -> Reply {
        Ask::new("GET", path).header("X-aws-ec2-metadata-token", self.token()).to(self.imds())
    }

    /// The value at `/latest/meta-data/…`; `None` is 404.
    pub(crate) fn value(&self, path: &str) -> Option<String> {
        let reply = self.metadata(&format!("/latest/meta-data/{path}"));
        match reply.status {
            200 => Some(reply.body),
            404 => None,
            other => panic!("{path}: {other}"),
        }
    }

    /// A signed EC2 request.
    pub(crate) fn ec2(&self, parameters: &[(&str, &str)]) -> Reply {
        let all = [&[("Version", "2016-11-15")], parameters].concat();
        signed(Ask::new("POST", "/"), "ec2").body(form(&all)).to(self.aws())
    }

    /// A signed STS request.
    pub(crate) fn sts(&self, parameters: &[(&str, &str)]) -> Reply {
        let all = [&[("Version", "2011-06-15")], parameters].concat();
        signed(Ask::new("POST", "/"), "sts").body(form(&all)).to(self.aws())
    }

    /// A signed Route 53 request to `/2013-04-01/…`.
    pub(crate) fn route53(&self, method: &str, path: &str, body: &str) -> Reply {
        let target = format!("/2013-04-01/{path}");
        signed(Ask::new(method, &target), "route53").body(body).to(self.aws())
    }

    /// A change batch: action and the XML of the record set.
    pub(crate) fn change(&self, changes: &[(&str, String)]) -> Reply {
        self.route53("POST", &format!("hostedzone/{ZONE}/rrset/"), &batch(changes))
    }

    /// As [`Stage::change`], which must succeed.
    pub(crate) fn changed(&self, changes: &[(&str, String)]) -> Reply {
        let reply = self.change(changes);
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply
    }

    /// As [`Stage::change`], which must be refused; gives the problems.
    pub(crate) fn refused(&self, changes: &[(&str, String)]) -> Vec<String> {
        let before = self.world.records(ZONE);
        let reply = self.change(changes);
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "InvalidChangeBatch"),
            "{}",
            reply.body
        );
        assert_eq!(self.world.records(ZONE), before, "a refused batch changes nothing");
        let mut messages = reply.texts("Message");
        let whole = messages.remove(0);
        assert_eq!(whole, format!("[{}]", messages.join(", ")));
        messages
    }

    /// `NAME TYPE TTL VALUES` of every record below the apex's SOA and NS.
    pub(crate) fn records(&self) -> Vec<String> {
        let own = |kind: &str| kind == "SOA" || kind == "NS";
        let records = self.world.records(ZONE).into_iter().filter(|record| !own(&record.kind));
        let line = |record: sandbox::zone::RecordSet| {
            let ttl = record.ttl.map(|ttl| ttl.to_string()).unwrap_or_default();
            let identifier = record.set_identifier.map(|id| format!(" ({id})")).unwrap_or_default();
            format!("{} {} {ttl} {}{identifier}", record.name, record.kind, record.values.join(","))
        };
        records.map(line).collect()
    }
}

pub(crate) fn web() -> Instance {
    Instance::new(WEB, "us-east-1a", Ipv4Addr::new(10, 0, 1, 23))
        .tag("Role", "web")
        .tag("Name", "web-1")
}

pub(crate) fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// With the header of a signature by the key `test`.
pub(crate) fn signed<'a>(ask: Ask<'a>, service: &str) -> Ask<'a> {
    signed_by(ask, service, "test")
}

pub(crate) fn signed_by<'a>(ask: Ask<'a>, service: &str, key: &str) -> Ask<'a> {
    let signature = "0".repeat(64);
    ask.header("X-Amz-Date", "20260101T000000Z").header(
        "Authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={signature}"
        ),
    )
}

pub(crate) fn form(parameters: &[(&str, &str)]) -> String {
    let escaped = |text: &str| {
        text.bytes().fold(String::new(), |mut escaped, octet| {
            if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                escaped.push(char::from(octet));
            } else {
                write!(escaped, "%{octet:02X}").unwrap();
            }
            escaped
        })
    };
    let fields: Vec<_> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    fields.join("&")
}

pub(crate) fn batch(changes: &[(&str, String)]) -> String {
    let changes = changes.iter().fold(String::new(), |written, (action, set)| {
        written + &format!("<Change><Action>{action}</Action><ResourceRecordSet>{set}</ResourceRecordSet></Change>")
    });
    format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
         <ChangeBatch><Comment>test</Comment><Changes>{changes}</Changes></ChangeBatch>\
         </ChangeResourceRecordSetsRequest>"
    )
}

/// The XML of a record set with a TTL of 60.
pub(crate) fn set(name: &str, kind: &str, values: &[&str]) -> String {
    set_with(name, kind, "", 60, values)
}

/// The same with further elements and a TTL.
pub(crate) fn set_with(name: &str, kind: &str, extra: &str, ttl: u32, values: &[&str]) -> String {
    let values = values.iter().fold(String::new(), |written, value| {
        written + &format!("<ResourceRecord><Value>{value}</Value></ResourceRecord>")
    });
    format!(
        "<Name>{name}</Name><Type>{kind}</Type>{extra}<TTL>{ttl}</TTL><ResourceRecords>{values}</ResourceRecords>"
    )
}

pub(crate) fn weighted(id: &str) -> String {
    format!("<SetIdentifier>{id}</SetIdentifier><Weight>10</Weight>")
}

pub(crate) fn multivalue(id: &str) -> String {
    format!("<SetIdentifier>{id}</SetIdentifier><MultiValueAnswer>true</MultiValueAnswer>")
}
