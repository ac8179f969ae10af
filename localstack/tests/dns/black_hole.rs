//! The server that answers nothing.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use sandbox::black_hole::BlackHole;

use super::tools::{ANY_PORT, ask, receive};

#[test]
fn a_black_hole_takes_everything_and_answers_nothing() {
    let hole = BlackHole::start(ANY_PORT).unwrap();
    let datagrams = ask(hole.addr(), b"first");
    datagrams.send(b"second").unwrap();
    let mut connection = TcpStream::connect(hole.addr()).unwrap();
    connection.write_all(&vec![0; 100_000]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while (hole.datagrams(), hole.connections()) != (2, 1) {
        assert!(
            Instant::now() < deadline,
            "{} datagrams, {} connections",
            hole.datagrams(),
            hole.connections()
        );
        thread::yield_now();
    }
    let patience = Some(Duration::from_millis(50));
    datagrams.set_read_timeout(patience).unwrap();
    connection.set_read_timeout(patience).unwrap();
    assert_eq!(receive(&datagrams).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(connection.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_black_hole_that_ends_leaves_its_address_free() {
    // an address of its own, so that no other test takes the port
    let hole = BlackHole::start("127.0.0.14:0".parse().unwrap()).unwrap();
    let addr = hole.addr();
    let _open = TcpStream::connect(addr).unwrap();
    drop(hole);
    assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(BlackHole::start(addr).unwrap().addr(), addr);
}
