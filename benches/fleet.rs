//! A fleet that boots at once into Route 53: an account has five requests a second, whoever makes them, and each host publishes itself by
//! `tagalong once`. What it takes, and how many calls each host needs, against the strict Route 53 of `sandbox`.
//!
//! usage: `[TAGALONG=PROGRAM] cargo bench --profile dev --bench fleet -- [HOSTS]`
//!
//! With a release build as PROGRAM, starting the hosts' processes does not take the time that Route 53 would.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark fails by panicking, makes its files as it likes, and prints its figures"
)]

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sandbox::{
    fault::Service,
    imds::Whom,
    instance::{DEFAULT_VPC, Instance},
    running::{Listen, Running},
    world::World,
    zone::Zone,
};

fn main() {
    let hosts = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(300);
    let world = World::new();
    world.put_zone(Zone::new("Z0CORP", "corp.internal").vpc("us-east-1", DEFAULT_VPC));
    let ids = (0..hosts).map(|number| format!("i-{number:017x}")).collect::<Vec<_>>();
    let address = |number: usize| {
        Ipv4Addr::from(0x0a00_0100 + u32::try_from(number).expect("a host number is small"))
    };
    for (number, id) in ids.iter().enumerate() {
        let host = Instance::new(id, "us-east-1a", address(number));
        world.put_instance(host.tag("Name", &format!("web-{number}")).role("host").metadata_tags());
    }
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let metadata = ids.iter().map(|id| (any, Whom::Instance(id.clone()))).collect();
    let listen = Listen { imds: metadata, aws: Some(any), ..Listen::default() };
    let running = Running::start(world.clone(), listen).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let built = || env!("CARGO_BIN_EXE_tagalong").into();
    let program = std::env::var_os("TAGALONG").unwrap_or_else(built);
    let started = Instant::now();
    let mut children = BTreeMap::new();
    for (number, metadata) in running.imds().iter().enumerate() {
        let own = dir.path().join(number.to_string());
        fs::create_dir_all(own.join("root/etc")).unwrap();
        let config = format!(
            "version = 1\n[metadata]\nendpoint = \"http://{metadata}\"\n[aws]\nendpoint = \"http://{}\"\n\
             [[record]]\nname = \"{{tag:Name}}.corp.internal\"\n[backend.aws]\nkind = \"route53\"\n\
             zone_id = \"Z0CORP\"\n[resolver]\nmanager = \"none\"\n",
            running.aws().unwrap()
        );
        fs::write(own.join("config.toml"), config).unwrap();
        let child = Command::new(&program)
            .args(["--config", "config.toml", "--state-dir", "state", "--run-dir", "run", "--root"])
            .args(["root", "once", "--deadline", "10m"])
            .current_dir(&own)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(own.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        children.insert(number, child);
    }
    let mut times = Vec::new();
    while !children.is_empty() {
        assert!(started.elapsed() < Duration::from_mins(11), "a host is stuck");
        children.retain(|number, child: &mut Child| match child.try_wait().unwrap() {
            Some(status) => {
                let errors = fs::read_to_string(dir.path().join(number.to_string()).join("stderr"));
                assert!(status.success(), "host {number}: {}", errors.unwrap());
                times.push(started.elapsed().as_secs_f64());
                false
            }
            None => true,
        });
        std::thread::sleep(Duration::from_millis(20));
    }
    for number in 0..hosts {
        let found = world.find_records("Z0CORP", &format!("web-{number}.corp.internal"), "A");
        assert_eq!(found[0].values, [address(number).to_string()], "host {number}");
    }
    report(&world, hosts, &times);
}

fn report(world: &World, hosts: usize, times: &[f64]) {
    let requests = world.requests(Service::Route53);
    let mut served = ids_to_zero(hosts);
    let mut refused = ids_to_zero(hosts);
    for request in &requests {
        let of = if request.status == Some(200) { &mut served } else { &mut refused };
        *of.entry(request.session.clone().expect("every call is signed")).or_insert(0) += 1;
    }
    let begun = requests.first().map_or_else(Instant::now, |request| request.at);
    let mut slots: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
    for request in &requests {
        let slot = slots.entry((request.at - begun).as_secs() / 10).or_default();
        if request.status == Some(200) { slot.0 += 1 } else { slot.1 += 1 }
    }
    for (slot, (served, refused)) in slots {
        println!("{:4} s: {served} served, {refused} refused", slot * 10);
    }
    let all: usize = served.values().sum();
    let shortest = all as f64 / 5.0;
    let spread = |calls: BTreeMap<String, usize>| {
        let mut calls = calls.into_values().collect::<Vec<_>>();
        calls.sort_unstable();
        (calls[calls.len() / 2], calls[calls.len() - 1])
    };
    let (median, most) = spread(served);
    println!(
        "{hosts} hosts; calls that Route 53 served, of each: {median} in the median, {most} at most"
    );
    let (median, most) = spread(refused);
    println!("calls that it refused for the rate, of each: {median} in the median, {most} at most");
    let last = times.last().copied().unwrap_or_default();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("half of the hosts were published after {middle:.0} s, the last after {last:.0} s");
    println!(
        "that is {:.2} times the {shortest:.0} s that five requests a second take for {all} calls",
        last / shortest
    );
}

fn ids_to_zero(hosts: usize) -> BTreeMap<String, usize> {
    (0..hosts).map(|number| (format!("i-{number:017x}"), 0)).collect()
}
