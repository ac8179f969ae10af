//! Metrics, where a monitoring system finds them: a file for `node_exporter`'s textfile collector, and a listener where one is wanted.

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::sys::fs::replace;

/// What is told now. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Exposition {
    directory: PathBuf,
    text: Arc<Mutex<String>>,
}

impl Exposition {
    /// One whose file is `metrics/tagalong.prom` in the run directory; what an agent before this one told is gone.
    #[must_use]
    pub fn below(run_dir: &Path) -> Self {
        let exposition = Self { directory: run_dir.join("metrics"), text: Arc::default() };
        exposition.end();
        exposition
    }

    /// Tells `text` from now on.
    ///
    /// # Errors
    /// The file cannot be written; the listener tells it all the same.
    pub fn tell(&self, text: &str) -> io::Result<()> {
        if *self.now() == text {
            return Ok(());
        }
        text.clone_into(&mut self.now());
        fs::create_dir_all(&self.directory)?;
        replace(&self.directory, &self.directory.join(FILE), text.as_bytes(), 0o644).map(drop)
    }

    /// The end of an agent: a file that nobody keeps would be taken for how things stand.
    pub fn end(&self) {
        let _ = fs::remove_file(self.directory.join(FILE));
    }

    fn now(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers `GET /metrics` at `addr` for as long as it is polled.
    ///
    /// # Errors
    /// The address cannot be listened at.
    pub async fn serve(&self, addr: SocketAddr) -> io::Result<Infallible> {
        let listener = TcpListener::bind(addr).await?;
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            // Nobody in need of metrics opens so many; whoever does is let go.
            let Ok((stream, _)) = accepted else {
                sleep(PAUSE).await;
                continue;
            };
            if connections.len() >= MOST_CONNECTIONS {
                continue;
            }
            let exposition = self.clone();
            connections.spawn(async move {
                let answer = service_fn(|request| std::future::ready(exposition.answer(&request)));
                let served = http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                let _ = timeout(PATIENCE, served).await;
            });
        }
    }

    fn answer(
        &self,
        request: &Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
        let (status, kind, text) = match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => (StatusCode::OK, EXPOSITION, self.now().clone()),
            (_, "/metrics") => {
                (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET is answered\n".to_owned())
            }
            _ => (StatusCode::NOT_FOUND, PLAIN, "the metrics are at /metrics\n".to_owned()),
        };
        Response::builder().status(status).header(CONTENT_TYPE, kind).body(Full::from(text))
    }
}

const FILE: &str = "tagalong.prom";
const EXPOSITION: &str = "text/plain; version=0.0.4";
const PLAIN: &str = "text/plain";
const MOST_CONNECTIONS: usize = 16;
/// Of a connection: what is asked is asked at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an accept that failed: the process has no descriptors left.
const PAUSE: Duration = Duration::from_secs(1);
