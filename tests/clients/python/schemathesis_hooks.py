"""Hooks of schemathesis: which refusals of valid requests are right, and which resources the run must not touch."""

import os
import re

import schemathesis
from schemathesis.checks import CHECKS
from schemathesis.core.failures import Failure

# Errors of requests that their schemas allow: the field or OAuth's code, then the message.
NO_SCHEMA_SAYS = [
    # The bound is the time of the request.
    r"expiresAt must be in the future",
    # A rule between two fields.
    r"fromDate must not be after toDate",
    # Whether there is a key depends on `type`.
    r'publicKey (is missing|goes with "type": "public_key" only)',
    # The members of a key, and the names of its algorithms, depend on `kty`.
    r"publicKey\.(crv|n|e|x|y) (is missing|is not a known field)",
    r"publicKey\.(crv|alg) must be (one of )?.*",
    # The service calculates whether they are a key.
    r"publicKey (has fewer than 2048 or more than 4096 bits|has a weak exponent or modulus|is not a valid key of its type)",
    # OpenAPI 3.0 has no schema for the names of parameters.
    r"invalid_request a parameter contains the NUL character",
    # Only the service knows the cursors that it returned.
    r"cursor does not belong to this query; .*",
    # The list is stored with the organization.
    r"defaultResource must be one of the organization's resources",
    # RFC 3986 has too many forms of IPv6 addresses for a pattern that people read.
    r"\S+ must be an absolute URI, .* instead of .*//[^/?]*\[.*",
    # Two spellings of one URI are equal.
    r"resources\[\d+\] is repeated, perhaps in another spelling .*",
    # Operations that take several methods of authentication: RFC 6749 section 2.3 allows one a request.
    r"invalid_request use exactly one method of client authentication",
    # The field repeats the client of the token in the header.
    r"invalid_request client_id is not the client of this token",
    # The operation exists only to be refused.
    r"unsupported_response_type .*",
]


def errors(response, case):
    """Returns the errors of a response."""
    body = response.json()
    if body.get("code") != "VALIDATION_ERROR":
        return [f"{body.get('error')} {body.get('error_description')}"]
    return [with_value(case, **error) for error in body["details"]["errors"]]


def with_value(case, field, message):
    """Returns the error of a field, with the value if it is an entry of a list or a URI."""
    name, _, place = field.rstrip("]").partition("[")
    if place or "URI" in message:
        value = case.body[name]
        message += f" instead of {value[int(place)] if place else value}"
    return f"{field} {message}"


@schemathesis.check
def a_valid_request_is_accepted(ctx, response, case):
    """Fails as positive_data_acceptance does, except for errors that no schema can say."""
    try:
        return CHECKS.get_one("positive_data_acceptance")(ctx, response, case)
    except Failure:
        if not all(any(re.fullmatch(known, error) for known in NO_SCHEMA_SAYS) for error in errors(response, case)):
            raise


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keeps the run from revoking its own token: its agent and its organization are replaced by others."""
    for name in ("agentId", "organizationId"):
        if (case.path_parameters or {}).get(name) == os.environ[f"OWN_{name}"]:
            case.path_parameters[name] = os.environ[f"OTHER_{name}"]
