//! The stand-ins end when they are told to, whatever else goes on in the process.

use std::{io::ErrorKind, net::TcpStream, process::Command, thread};

use sandbox::{
    imds::Whom,
    running::{Listen, Running},
    world::World,
};

use crate::stage::WEB;

#[test]
fn they_stop_and_start_while_other_tests_start_processes() {
    // on its way to `exec` a child has copies of every socket: they must neither take connections nor hold the port.
    // An address of its own, so that no other test takes the port
    let any = "127.0.0.17:0".parse().unwrap();
    let mut listen = Listen {
        imds: vec![(any, Whom::Instance(WEB.to_owned()))],
        aws: Some(any),
        control: Some(any),
    };
    let running = Running::start(World::new(), listen.clone()).unwrap();
    listen.imds[0].0 = running.imds()[0];
    (listen.aws, listen.control) = (running.aws(), running.control());
    drop(running);
    let all = [listen.imds[0].0, listen.aws.unwrap(), listen.control.unwrap()];
    thread::scope(|scope| {
        let spawning =
            scope.spawn(|| (0..200).all(|_| Command::new("true").status().unwrap().success()));
        while !spawning.is_finished() {
            let running = Running::start(World::new(), listen.clone()).unwrap();
            for address in all {
                TcpStream::connect(address).unwrap();
            }
            drop(running);
            for address in all {
                let error = TcpStream::connect(address).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
            }
        }
    });
}
