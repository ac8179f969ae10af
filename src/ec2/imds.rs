//! A client of the instance metadata service, version 2 only (EC2 User Guide, "Use the Instance Metadata Service").
//!
//! What the AWS SDK's client does not do, and an agent needs: a token that the service refuses is dropped and renewed at
//! once; refused and silent connections are tried again; no proxy is ever used; and an answer is one of three things that
//! are never mixed up: present, absent (404, or 200 without a body), or unknown (an error).

use std::{fmt, net::SocketAddr, sync::Mutex, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::OnceCell,
    time::{Instant, sleep, timeout},
};

use crate::{core::facts::metadata_address, ports::error::FactError, sys::clock::jitter};

/// The metadata schema that is asked for: the first with instance tags.
pub const SCHEMA: &str = "2021-07-15";

/// What the service said about one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// It is there.
    Present(String),
    /// It is not there: 404, or an empty body.
    Absent,
}

impl Item {
    /// The text; `None` when absent.
    #[must_use]
    pub fn text(self) -> Option<String> {
        match self {
            Self::Present(text) => Some(text),
            Self::Absent => None,
        }
    }

    /// The lines; none when absent.
    #[must_use]
    pub fn lines(self) -> Vec<String> {
        let text = self.text().unwrap_or_default();
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

/// How often and how long to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries of one request.
    pub attempts: u32,
    /// Of one try, the connection included.
    pub limit: Duration,
    /// The longest first wait between tries; it doubles, and the wait is a random part of it (full jitter).
    pub backoff: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 4, limit: Duration::from_secs(1), backoff: Duration::from_millis(100) }
    }
}

/// The client. Connections are kept, and made as they are needed: requests run side by side.
#[derive(Debug)]
pub struct Imds {
    endpoint: String,
    authority: String,
    patience: Patience,
    token: Mutex<Option<Token>>,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
    address: OnceCell<SocketAddr>,
}

#[derive(Clone)]
struct Token {
    text: String,
    ends: Instant,
}

/// Whoever has the token can read the role's credentials: it is in no log.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Imds {
    /// A client of the service at `endpoint`, `http://ADDRESS[:PORT]`.
    #[must_use]
    pub fn new(endpoint: &str, patience: Patience) -> Self {
        let authority = endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self {
            endpoint: endpoint.to_owned(),
            authority,
            patience,
            token: Mutex::new(None),
            idle: Mutex::new(Vec::new()),
            address: OnceCell::new(),
        }
    }

    /// Where the service is looked for.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Reads one item below the pinned schema, such as `meta-data/mac`.
    ///
    /// # Errors
    /// It is not known whether the item is there.
    pub async fn get(&self, path: &str) -> Result<Item, FactError> {
        let path = format!("/{SCHEMA}/{path}");
        let path = path.as_str();
        self.patiently(move || self.get_once(path)).await
    }

    /// Gets a session token, if there is none yet: one for all the requests that follow side by side.
    ///
    /// # Errors
    /// The service gives none.
    pub async fn prepare(&self) -> Result<(), FactError> {
        self.patiently(|| self.token()).await.map(drop)
    }

    /// Reads items side by side; fails if any of them is unknown.
    ///
    /// # Errors
    /// It is not known whether one of the items is there.
    pub async fn get_all(&self, paths: &[String]) -> Result<Vec<Item>, FactError> {
        self.prepare().await?;
        futures_util::future::try_join_all(paths.iter().map(|path| self.get(path))).await
    }

    /// Tries again what silence or a fault of the service ended, with full jitter between the tries.
    async fn patiently<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, FactError>
    where
        F: Future<Output = Result<T, FactError>>,
    {
        let Patience { attempts, backoff, .. } = self.patience;
        let mut last = self.no_answer("nothing was tried");
        for tried in 0..attempts {
            if tried > 0 {
                sleep(backoff.mul_f64(f64::from(1 << (tried - 1).min(6)) * jitter())).await;
            }
            match attempt().await {
                Err(error @ (FactError::NoAnswer { .. } | FactError::Failed { .. })) => {
                    last = error
                }
                answer => return answer,
            }
        }
        Err(last)
    }

    async fn get_once(&self, path: &str) -> Result<Item, FactError> {
        let mut renewed = false;
        loop {
            let token = self.token().await?;
            let (status, body) =
                self.send(Method::GET, path, &[(TOKEN_HEADER, &token.text)]).await?;
            return match status {
                StatusCode::OK if body.is_empty() => Ok(Item::Absent),
                StatusCode::OK => Ok(Item::Present(body)),
                StatusCode::NOT_FOUND => Ok(Item::Absent),
                StatusCode::UNAUTHORIZED if !renewed => {
                    self.forget(&token);
                    renewed = true;
                    continue;
                }
                status => Err(self.failed(path, status)),
            };
        }
    }

    async fn token(&self) -> Result<Token, FactError> {
        let known = self.token.lock().ok().and_then(|token| token.clone());
        if let Some(token) = known.filter(|token| token.ends > Instant::now()) {
            return Ok(token);
        }
        let asked = Instant::now();
        let headers = [(TTL_HEADER, TOKEN_SECONDS)];
        let (status, body) = self.send(Method::PUT, TOKEN_PATH, &headers).await?;
        match status {
            StatusCode::OK if is_header_value(&body) => {
                let seconds = TOKEN_SECONDS.parse().unwrap_or(0);
                let ends = asked + Duration::from_secs(seconds).saturating_sub(RENEW_BEFORE);
                let token = Token { text: body, ends };
                if let Ok(mut slot) = self.token.lock() {
                    *slot = Some(token.clone());
                }
                Ok(token)
            }
            StatusCode::OK => Err(FactError::Unusable {
                endpoint: self.endpoint.clone(),
                path: "session token".to_owned(),
            }),
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                Err(FactError::Refused { endpoint: self.endpoint.clone(), status: status.as_u16() })
            }
            status => Err(self.failed(TOKEN_PATH, status)),
        }
    }

    /// Drops a token that the service refuses, unless somebody has renewed it meanwhile.
    fn forget(&self, refused: &Token) {
        if let Ok(mut slot) = self.token.lock()
            && slot.as_ref().is_some_and(|token| token.text == refused.text)
        {
            *slot = None;
        }
    }

    /// One request and its answer, within the limit of one try. A kept connection that turns out to be closed is replaced.
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, String), FactError> {
        let request = || {
            let mut request =
                Request::builder().method(method.clone()).uri(path).header("host", &self.authority);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if method == Method::PUT {
                request = request.header("content-length", "0");
            }
            request.body(Empty::new())
        };
        let exchange = async {
            if let Some(kept) = self.kept() {
                match timeout(KEPT_LIMIT, self.over(kept, request()?)).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    // It was closed meanwhile.
                    Ok(Err(_)) => {}
                    // The address that the connections came from may be gone: nothing ever comes back on any of them.
                    Err(_) => self.forget_kept(),
                }
            }
            let fresh = self.connect().await?;
            self.over(fresh, request()?).await
        };
        match timeout(self.patience.limit, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(FactError::NoAnswer { endpoint: self.endpoint.clone(), source }),
            Err(_) => {
                Err(self
                    .no_answer(&format!("nothing within {} ms", self.patience.limit.as_millis())))
            }
        }
    }

    async fn over(
        &self,
        mut connection: SendRequest<Empty<Bytes>>,
        request: Request<Empty<Bytes>>,
    ) -> Result<(StatusCode, String), Source> {
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await?.to_bytes();
        if !connection.is_closed()
            && let Ok(mut idle) = self.idle.lock()
        {
            idle.push(connection);
        }
        Ok((status, String::from_utf8(body.to_vec())?))
    }

    fn kept(&self) -> Option<SendRequest<Empty<Bytes>>> {
        let mut idle = self.idle.lock().ok()?;
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.is_closed())
    }

    /// Whether a connection can be made at all: where it can, and no answer comes, the answer is lost on its way.
    pub async fn connects(&self) -> bool {
        matches!(timeout(self.patience.limit, self.connect()).await, Ok(Ok(_)))
    }

    /// Closes the connections that are kept for the next request.
    pub fn forget_kept(&self) {
        if let Ok(mut idle) = self.idle.lock() {
            idle.clear();
        }
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Source> {
        let parsed = async { metadata_address(&self.authority).map_err(Source::from) };
        let address = self.address.get_or_try_init(|| parsed).await?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends when its sender is dropped, or with the service's side.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }

    fn no_answer(&self, what: &str) -> FactError {
        FactError::NoAnswer { endpoint: self.endpoint.clone(), source: what.into() }
    }

    fn failed(&self, path: &str, status: StatusCode) -> FactError {
        FactError::Failed {
            endpoint: self.endpoint.clone(),
            path: path.to_owned(),
            status: status.as_u16(),
        }
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

fn is_header_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| (0x21..=0x7e).contains(&octet))
}

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// The longest life that a token may have.
const TOKEN_SECONDS: &str = "21600";
/// By when an answer comes over a connection that is still good; the service is on the same machine.
const KEPT_LIMIT: Duration = Duration::from_millis(200);
const RENEW_BEFORE: Duration = Duration::from_mins(2);
/// Far more than any document of the service.
const BODY_LIMIT: usize = 1 << 20;
