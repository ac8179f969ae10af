//! Runs the stand-ins on a thread of their own, so that synchronous tests can talk to them.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::{
    aws, control,
    imds::{self, Whom},
    name_servers::NameServers,
    port,
    world::World,
};

/// Where to listen; port 0 takes a free one. The default is nowhere.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// IMDS endpoints, each with the instance that it speaks for.
    pub imds: Vec<(SocketAddr, Whom)>,
    /// EC2, STS and Route 53.
    pub aws: Option<SocketAddr>,
    /// The control API.
    pub control: Option<SocketAddr>,
}

/// The stand-ins at work. Dropping it ends them and frees their ports.
#[derive(Debug)]
pub struct Running {
    world: World,
    imds: Vec<SocketAddr>,
    aws: Option<SocketAddr>,
    control: Option<SocketAddr>,
    listeners: Vec<TcpListener>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Binds all addresses of `listen`, then serves `world` on them. When it returns, they accept connections.
    ///
    /// # Errors
    /// When an address can't be bound, or there is no thread or runtime to be had.
    pub fn start(world: World, listen: Listen) -> io::Result<Self> {
        Self::start_with(world, listen, NameServers::default())
    }

    /// As [`Running::start`], with name servers for the control API to rule over. They end with their last handle, not
    /// with this.
    ///
    /// # Errors
    /// As for [`Running::start`].
    pub fn start_with(world: World, listen: Listen, name_servers: NameServers) -> io::Result<Self> {
        let mut imds = Vec::new();
        for (address, whom) in listen.imds {
            imds.push((port::listen(address)?, whom));
        }
        let aws = listen.aws.map(port::listen).transpose()?;
        let control = listen.control.map(port::listen).transpose()?;
        let address =
            |listener: Option<&TcpListener>| listener.map(TcpListener::local_addr).transpose();
        let (aws_address, control_address) = (address(aws.as_ref())?, address(control.as_ref())?);
        let imds_addresses =
            imds.iter().map(|(listener, _)| listener.local_addr()).collect::<io::Result<_>>()?;
        let all = imds.iter().map(|(listener, _)| listener).chain(&aws).chain(&control);
        let listeners = all.map(TcpListener::try_clone).collect::<io::Result<_>>()?;

        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        for (listener, whom) in imds {
            runtime.spawn(imds::serve(world.clone(), listener, whom));
        }
        if let Some(listener) = aws {
            runtime.spawn(aws::serve(world.clone(), listener));
        }
        if let Some(listener) = control {
            runtime.spawn(control::serve(world.clone(), name_servers, listener));
        }
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
            // an error is the dropped sender, which means the same
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Self {
            world,
            imds: imds_addresses,
            aws: aws_address,
            control: control_address,
            listeners,
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The world that the stand-ins show.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The bound IMDS addresses, in the order in which they were given.
    #[must_use]
    pub fn imds(&self) -> &[SocketAddr] {
        &self.imds
    }

    /// The bound address of EC2, STS and Route 53.
    #[must_use]
    pub fn aws(&self) -> Option<SocketAddr> {
        self.aws
    }

    /// The bound address of the control API.
    #[must_use]
    pub fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// The runtime of the stand-ins: whatever else is spawned here, a DNS server for example, ends with them.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs one more server beside the others, until it ends or they are stopped.
    pub fn spawn(&self, server: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(server);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // a panic in there has been printed already
            let _ = thread.join();
        }
        self.listeners.iter().for_each(port::end);
    }
}
