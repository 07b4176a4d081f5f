//! The explanation of an assertion.

use poem_openapi::Object;
use poem_openapi::types::Any;
use serde_json::Value;
use uuid::Uuid;

use crate::extract::wire::{EnumName, WireEnum};
use app::issuers::Explanation;
use domain::federation::{Check, Finding};

/// Whether an assertion would authenticate an agent, and why not
#[derive(Object)]
#[oai(rename = "Explanation")]
pub struct ExplanationBody {
    verdict: EnumName<Verdict>,
    /// Every check that could be made, in the order of authentication
    checks: Vec<FindingBody>,
    /// Agents with a credential whose subject and claims match
    agents: Vec<Uuid>,
    /// The claims of the assertion. Only the check `signature` says whether they are true
    claims: Any<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused,
}

impl WireEnum for Verdict {
    const TYPE: &'static str = "Verdict";
    const NAMES: &'static [(&'static str, Self)] =
        &[("accepted", Self::Accepted), ("refused", Self::Refused)];
}

impl WireEnum for Check {
    const TYPE: &'static str = "AssertionCheck";
    const NAMES: &'static [(&'static str, Self)] = &Self::ALL;
}

/// Result of one check
#[derive(Object)]
#[oai(rename = "CheckResult", skip_serializing_if_is_none)]
struct FindingBody {
    check: EnumName<Check>,
    passed: bool,
    /// Value or values that pass
    expected: Option<Any<Value>>,
    /// Value of the assertion
    actual: Option<Any<Value>>,
}

impl From<Finding> for FindingBody {
    fn from(finding: Finding) -> Self {
        Self {
            check: EnumName(finding.check),
            passed: finding.passed,
            expected: finding.expected.map(Any),
            actual: finding.actual.map(Any),
        }
    }
}

impl From<Explanation> for ExplanationBody {
    fn from(explanation: Explanation) -> Self {
        let verdict = if explanation.is_accepted { Verdict::Accepted } else { Verdict::Refused };
        Self {
            verdict: EnumName(verdict),
            checks: explanation.checks.into_iter().map(Into::into).collect(),
            agents: explanation.agents.into_iter().map(|agent| agent.0).collect(),
            claims: Any(Value::Object(explanation.claims)),
        }
    }
}
