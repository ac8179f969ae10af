//! The machine's Kerberos credentials, by the system's library (GSS-API, RFC 2743; its Kerberos mechanism, RFC 4121).
//!
//! The library is C, and waits for the Kerberos servers while it is called: [`Context::begin`] belongs on a thread of its own.
//! It takes the keytab from its environment (`KRB5_CLIENT_KTNAME`), which [`environment`] tells; a program has to start with it.

use std::{ffi::OsString, fmt, path::Path};

use crate::core::name::Name;

/// Whether this program can use Kerberos: cargo feature `gssapi`, which the static binary does without.
pub const BUILT_IN: bool = cfg!(feature = "gssapi");

/// What the library has to find in the environment to take its credentials from `keytab`, and to keep tickets in memory alone
/// (MIT krb5, "Environment variables").
#[must_use]
pub fn environment(keytab: &Path) -> [(&'static str, OsString); 2] {
    let mut client_keytab = OsString::from("FILE:");
    client_keytab.push(keytab);
    [("KRB5_CLIENT_KTNAME", client_keytab), ("KRB5CCNAME", "MEMORY:tagalong".into())]
}

/// What the library says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct GssError(String);

/// The principal of a DNS server (RFC 3645 section 3.1.1).
fn service(host: &Name) -> String {
    format!("DNS@{}", host.as_str().trim_end_matches('.'))
}

/// A security context with one server, whose messages it signs and verifies.
#[derive(Clone)]
pub struct Context(imp::Context);

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context([secret])")
    }
}

impl Context {
    /// Begins one with the DNS server `host`, as `principal`, or as the first one of the keytab; gives what to send it.
    ///
    /// # Errors
    /// There is no ticket for it.
    pub fn begin(host: &Name, principal: Option<&str>) -> Result<(Self, Vec<u8>), GssError> {
        let (context, token) = imp::Context::begin(&service(host), principal).map_err(GssError)?;
        Ok((Self(context), token))
    }

    /// Takes what the server sent; gives what to send it next, or nothing when both are content.
    ///
    /// # Errors
    /// It is not from that server.
    pub fn step(&self, token: &[u8]) -> Result<Option<Vec<u8>>, GssError> {
        self.0.step(token).map_err(GssError)
    }

    /// Whether it can sign.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.is_complete()
    }

    /// Who we are to the server.
    #[must_use]
    pub fn principal(&self) -> Option<String> {
        self.0.principal()
    }

    /// The MIC of a message; empty once the context has expired.
    pub(super) fn mic(&self, message: &[u8]) -> Vec<u8> {
        self.0.mic(message).unwrap_or_default()
    }

    /// Whether a MIC is the server's, of this message.
    pub(super) fn is_mic(&self, message: &[u8], mic: &[u8]) -> bool {
        self.0.is_mic(message, mic)
    }
}

#[cfg(feature = "gssapi")]
mod imp {
    use std::sync::{Arc, Mutex, PoisonError};

    use libgssapi::{
        context::{ClientCtx, CtxFlags, SecurityContext as _},
        credential::{Cred, CredUsage},
        error::Error,
        name::Name,
        oid::{GSS_MECH_SPNEGO, GSS_NT_HOSTBASED_SERVICE, GSS_NT_KRB5_PRINCIPAL},
    };

    #[derive(Clone)]
    pub(super) struct Context(Arc<Mutex<ClientCtx>>);

    /// No counting of messages, which BIND would take for a bad signature when one is sent again.
    const WANTED: CtxFlags = CtxFlags::GSS_C_MUTUAL_FLAG.union(CtxFlags::GSS_C_INTEG_FLAG);

    impl Context {
        pub(super) fn begin(
            service: &str,
            principal: Option<&str>,
        ) -> Result<(Self, Vec<u8>), String> {
            let name = |text: &str, kind| Name::new(text.as_bytes(), Some(kind)).map_err(text_of);
            let us = principal.map(|us| name(us, GSS_NT_KRB5_PRINCIPAL)).transpose()?;
            let credentials = Cred::acquire(us.as_ref(), None, CredUsage::Initiate, None);
            let server = name(service, GSS_NT_HOSTBASED_SERVICE)?;
            let mut context = ClientCtx::new(
                Some(credentials.map_err(text_of)?),
                server,
                WANTED,
                Some(GSS_MECH_SPNEGO),
            );
            let token = context.step(None, None).map_err(text_of)?;
            let token = token.map(|token| token.to_vec()).unwrap_or_default();
            Ok((Self(Arc::new(Mutex::new(context))), token))
        }

        pub(super) fn step(&self, token: &[u8]) -> Result<Option<Vec<u8>>, String> {
            let next = self.with(|context| {
                let next = context.step(Some(token), None)?;
                let flags = if context.is_complete() { context.flags()? } else { WANTED };
                Ok::<_, Error>((next.map(|next| next.to_vec()), flags))
            });
            let (next, flags) = next.map_err(text_of)?;
            if !flags.contains(WANTED) {
                return Err("the mechanism proves neither the server nor its messages".to_owned());
            }
            Ok(next)
        }

        pub(super) fn is_complete(&self) -> bool {
            self.with(|context| context.is_complete())
        }

        pub(super) fn principal(&self) -> Option<String> {
            self.with(|context| context.source_name().ok().map(|name| name.to_string()))
        }

        pub(super) fn mic(&self, message: &[u8]) -> Option<Vec<u8>> {
            self.with(|context| context.get_mic(message).ok().map(|mic| mic.to_vec()))
        }

        pub(super) fn is_mic(&self, message: &[u8], mic: &[u8]) -> bool {
            self.with(|context| context.verify_mic(message, mic).is_ok())
        }

        fn with<T>(&self, work: impl FnOnce(&mut ClientCtx) -> T) -> T {
            work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    /// What the mechanism says is what helps; the library's own sentence before it is the same for all.
    fn text_of(error: Error) -> String {
        let text = error.to_string();
        let cause = text.split_once(" (").map(|(_, cause)| cause.trim_end_matches(')'));
        cause.filter(|cause| !cause.is_empty()).map_or(text.clone(), str::to_owned)
    }
}

#[cfg(not(feature = "gssapi"))]
mod imp {
    /// There is none.
    #[derive(Clone)]
    pub(super) enum Context {}

    impl Context {
        pub(super) fn begin(_: &str, _: Option<&str>) -> Result<(Self, Vec<u8>), String> {
            Err("this tagalong is built without Kerberos".to_owned())
        }

        pub(super) fn step(&self, _: &[u8]) -> Result<Option<Vec<u8>>, String> {
            match *self {}
        }

        pub(super) fn is_complete(&self) -> bool {
            match *self {}
        }

        pub(super) fn principal(&self) -> Option<String> {
            match *self {}
        }

        pub(super) fn mic(&self, _: &[u8]) -> Option<Vec<u8>> {
            match *self {}
        }

        pub(super) fn is_mic(&self, _: &[u8], _: &[u8]) -> bool {
            match *self {}
        }
    }
}
