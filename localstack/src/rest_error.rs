//! The error answers that Route 53 and STS share: `<ErrorResponse><Error>…`.

use crate::{
    credentials::Stranger,
    http::{Answer, Refusal},
    xml::Xml,
};

/// An error answer.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Each problem by itself, where there can be several.
    pub(crate) messages: Vec<String>,
}

impl Error {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), messages: Vec::new() }
    }

    /// As both services answer above their rate.
    pub(crate) fn throttled() -> Self {
        Self::new(400, "Throttling", "Rate exceeded")
    }

    pub(crate) fn of_stranger(stranger: Stranger) -> Self {
        let (code, message) = match stranger {
            Stranger::Unsigned => ("MissingAuthenticationToken", "Missing Authentication Token"),
            Stranger::Malformed => (
                "IncompleteSignature",
                "Authorization header requires Credential, SignedHeaders, Signature and X-Amz-Date.",
            ),
            Stranger::WrongScope => (
                "SignatureDoesNotMatch",
                "Credential should be scoped to a valid region and the correct service.",
            ),
            Stranger::UnknownKey | Stranger::WrongToken => {
                ("InvalidClientTokenId", "The security token included in the request is invalid.")
            }
            Stranger::Expired => {
                ("ExpiredToken", "The security token included in the request is expired")
            }
        };
        Self::new(403, code, message)
    }

    pub(crate) fn of_refusal(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Throttled => Self::throttled(),
            Refusal::Failed(503) => {
                Self::new(503, "ServiceUnavailable", "Service is unavailable, try again later.")
            }
            Refusal::Failed(status @ 400..500) => {
                Self::new(status, "InvalidInput", "The input is not valid.")
            }
            Refusal::Failed(status) => {
                Self::new(status, "InternalFailure", "An internal failure occurred.")
            }
        }
    }

    pub(crate) fn answer(&self, namespace: &str, request_id: &str) -> Answer {
        let body = Xml::document("ErrorResponse", Some(namespace), |xml| {
            xml.nest("Error", |xml| {
                xml.leaf("Type", if self.status < 500 { "Sender" } else { "Receiver" });
                xml.leaf("Code", self.code);
                xml.leaf("Message", &self.message);
                if !self.messages.is_empty() {
                    xml.nest("Messages", |xml| {
                        for message in &self.messages {
                            xml.leaf("Message", message);
                        }
                    });
                }
            });
            xml.leaf("RequestId", request_id);
        });
        Answer::new(self.status, "text/xml", body).with("x-amzn-requestid", request_id.to_owned())
    }
}
