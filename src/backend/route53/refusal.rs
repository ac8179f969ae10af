//! What a call that failed means: Route 53's code and HTTP status to a situation (Route 53 API Reference, "Common Errors").

use aws_sdk_route53::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use crate::ports::{error::BackendError, said};

/// The situation that the failure of `action`, called for the zone, VPC or name `place`, is.
pub(super) fn failed<E>(
    action: &'static str,
    place: &str,
    error: &SdkError<E, HttpResponse>,
) -> BackendError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let source = said(error.code(), error.message(), error);
    match code(error) {
        "AccessDenied"
        | "AccessDeniedException"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken" => BackendError::NotAuthorized { action, source },
        "Throttling" | "ThrottlingException" | "PriorRequestNotComplete" => {
            BackendError::Throttled { action, source }
        }
        "NoSuchHostedZone" => BackendError::NoZone { zone_id: place.to_owned() },
        code if is_rejection(code, error) => BackendError::Rejected { action, source },
        _ => BackendError::Failed { action, source },
    }
}

/// Whether a batch failed because the records are not what was read: that is how a lost race looks.
pub(super) fn is_lost_race<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    code(error) == "InvalidChangeBatch"
        && ["already exists", "not found", "do not match", "conflicting"]
            .iter()
            .any(|words| message(error).contains(words))
}

/// Whether a batch has a name that is not in its zone.
pub(super) fn is_outside<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    code(error) == "InvalidChangeBatch" && message(error).contains("is not permitted in zone")
}

/// Whether each DELETE of a batch found what it names, and a CREATE was refused nevertheless.
pub(super) fn is_refused_for_creates_alone<E: ProvideErrorMetadata>(
    error: &SdkError<E, HttpResponse>,
) -> bool {
    let text = message(error);
    text.contains("already exists") && !text.contains("Tried to delete")
}

/// Whether Route 53 would say the same again: the fault is the request's, and not one of time.
fn is_rejection<E>(code: &str, error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|response| response.status().as_u16());
    status.is_some_and(|status| (400..500).contains(&status) && !PASSING_STATUS.contains(&status))
        && !PASSING.contains(&code)
}

fn message<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error.as_service_error().and_then(|service| service.message()).unwrap_or_default()
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error.as_service_error().and_then(|service| service.code()).unwrap_or_default()
}

/// Another change is under way, or the request took too long on its way.
const PASSING: [&str; 3] = ["ConcurrentModification", "RequestTimeout", "RequestTimeoutException"];
/// Request Timeout, Too Early, Too Many Requests (RFC 9110 section 15.5.9, RFC 8470, RFC 6585): whoever says so, a proxy too.
const PASSING_STATUS: [u16; 3] = [408, 425, 429];

#[cfg(test)]
mod tests {
    use aws_sdk_route53::{
        error::ErrorMetadata, operation::change_resource_record_sets::ChangeResourceRecordSetsError,
    };

    use super::*;
    use crate::ports::{Disposition, Situation as _};

    /// What becomes of an answer with this status and code.
    fn disposition(status: u16, code: &str) -> Disposition {
        let service = ChangeResourceRecordSetsError::generic(
            ErrorMetadata::builder().code(code).message("words").build(),
        );
        let answer = HttpResponse::new(status.try_into().unwrap(), "".into());
        let error = failed("route53:Action", "Z1", &SdkError::service_error(service, answer));
        assert!(status < 500 || matches!(error, BackendError::Failed { .. }), "{error:?}");
        error.disposition()
    }

    #[test]
    fn only_a_client_error_that_time_does_not_heal_is_held() {
        for (status, code) in [
            (400, "InvalidInput"),
            (400, "InvalidChangeBatch"),
            (400, "InvalidVPCId"),
            (404, "NoSuchHostedZone"),
            (403, "AccessDenied"),
            (400, ""),
        ] {
            assert_eq!(disposition(status, code), Disposition::Hold, "{status} {code}");
        }
        for (status, code) in [
            (400, "Throttling"),
            (400, "PriorRequestNotComplete"),
            (400, "ConcurrentModification"),
            (408, ""),
            (429, ""),
            (500, "InternalFailure"),
            (503, "ServiceUnavailable"),
        ] {
            let disposition = disposition(status, code);
            assert_ne!(disposition, Disposition::Hold, "{status} {code}");
        }
    }
}
