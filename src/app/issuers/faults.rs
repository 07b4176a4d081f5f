//! Faults of the fields of a trusted issuer.

use super::IssuersError;
use domain::issuer::TrustedIssuer;

/// Path of a field, and the text that follows it in the error.
pub(super) type Fault = (String, &'static str);

/// Returns why people of the issuer cannot be distinguished from its workloads. An overlap is a fault of `field`.
pub(super) fn fault_of_subjects(issuer: &TrustedIssuer, field: &str) -> Option<Fault> {
    if issuer.subjects.is_some() && issuer.issuer.trust_domain().is_some() {
        return Some(("subjects".to_owned(), "must be null for a spiffe:// issuer"));
    }
    let what = "must have no entry in common with the other list: audiences, by default the URL of this service, is for JWTs by which \
                agents authenticate; subjects.audiences is for tokens of people, such as the client ID of the app they log in to";
    issuer.shared_audience().map(|_| (field.to_owned(), what))
}

/// Returns [`IssuersError::Invalid`] if there are any faults.
pub(super) fn refuse(faults: Vec<Fault>) -> Result<(), IssuersError> {
    if faults.is_empty() { Ok(()) } else { Err(IssuersError::Invalid(faults)) }
}
