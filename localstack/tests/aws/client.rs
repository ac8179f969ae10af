//! An HTTP/1.1 client small enough to see through: it sends what it is told and hides nothing.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The texts of all elements of that name, in the order of the document.
    pub(crate) fn texts(&self, element: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.body));
        let found = document
            .descendants()
            .filter(|node| node.is_element() && node.tag_name().name() == element);
        found.map(|node| node.text().unwrap_or_default().to_owned()).collect()
    }

    pub(crate) fn text(&self, element: &str) -> Option<String> {
        self.texts(element).into_iter().next()
    }

    pub(crate) fn code(&self) -> String {
        self.text("Code").unwrap_or_else(|| panic!("no error code: {}", self.body))
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: String,
    pub(crate) source: Option<IpAddr>,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: &'a str, target: &'a str) -> Self {
        Self { method, target, headers: Vec::new(), body: String::new(), source: None }
    }

    pub(crate) fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// From another address of loopback.
    pub(crate) fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    pub(crate) fn to(&self, server: SocketAddr) -> Reply {
        let raw = self.raw(server, Duration::from_secs(20)).unwrap();
        parse(&raw).unwrap_or_else(|| panic!("not HTTP: {:?}", String::from_utf8_lossy(&raw)))
    }

    /// Every octet that comes back until the server closes.
    pub(crate) fn raw(&self, server: SocketAddr, patience: Duration) -> io::Result<Vec<u8>> {
        let mut stream = self.open(server)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(self.written("close").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    pub(crate) fn written(&self, connection: &str) -> String {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: sandbox\r\nConnection: {connection}\r\n",
            self.method, self.target
        );
        for (name, value) in self.headers.iter().map(|(name, value)| (*name, value.as_str())) {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text + &format!("Content-Length: {}\r\n\r\n{}", self.body.len(), self.body)
    }

    fn open(&self, server: SocketAddr) -> io::Result<TcpStream> {
        let Some(source) = self.source else { return TcpStream::connect(server) };
        let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket(family, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::new(source, 0))?;
        connect(&socket, &server)?;
        Ok(socket.into())
    }
}

pub(crate) fn parse(raw: &[u8]) -> Option<Reply> {
    let text = String::from_utf8(raw.to_vec()).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let length: usize =
        headers.get("content-length").map_or(Some(0), |length| length.parse().ok())?;
    (body.len() == length).then(|| Reply { status, headers, body: body.to_owned() })
}
