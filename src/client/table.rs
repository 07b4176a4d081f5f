//! The table of commands on resources: each row is one operation of the API.

/// A kind of thing that commands read and change.
#[derive(Debug)]
pub struct Resource {
    /// Name of the command.
    pub name: &'static str,
    /// Sentence on the command, for its help.
    pub about: &'static str,
    /// Field by which `-o name` names a thing.
    pub id: &'static str,
    /// Fields in a table.
    pub columns: &'static [&'static str],
    /// Further fields in a wide table.
    pub wide: &'static [&'static str],
    /// Operations.
    pub verbs: &'static [Verb],
}

/// An operation on a resource.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// Name of the subcommand; empty if the command itself is the operation.
    pub name: &'static str,
    /// `operationId` in the OpenAPI document.
    pub operation: &'static str,
    /// A field of the body that the command sets, and its value.
    pub sets: Option<(&'static str, &'static str)>,
    /// The consequence that is confirmed first; `None` if nothing is asked.
    pub asks: Option<&'static str>,
}

const fn verb(name: &'static str, operation: &'static str) -> Verb {
    Verb { name, operation, sets: None, asks: None }
}

const fn status(name: &'static str, operation: &'static str, status: &'static str) -> Verb {
    Verb { sets: Some(("status", status)), ..verb(name, operation) }
}

const fn asking(verb: Verb, asks: &'static str) -> Verb {
    Verb { asks: Some(asks), ..verb }
}

/// Every resource.
pub const RESOURCES: [Resource; 6] = [
    Resource {
        name: "agents",
        about: "Register and manage agents",
        id: "agentId",
        columns: &["agentId", "email", "agentType", "status", "owner", "deploymentEnv"],
        wide: &["organizationId", "version", "capabilities", "managedBy", "createdAt"],
        verbs: &[
            verb("list", "listAgents"),
            verb("get", "getAgent"),
            verb("create", "registerAgent"),
            verb("update", "updateAgent"),
            asking(
                status("suspend", "updateAgent", "suspended"),
                "revokes all tokens of the agent and lets it get no others",
            ),
            status("reactivate", "updateAgent", "active"),
            asking(
                verb("decommission", "decommissionAgent"),
                "is final: it revokes all tokens and credentials of the agent",
            ),
            asking(verb("kill", "revokeAgentTokens"), "revokes all present tokens of the agent"),
        ],
    },
    Resource {
        name: "credentials",
        about: "Create, rotate and revoke the credentials of an agent",
        id: "credentialId",
        columns: &["credentialId", "type", "status", "createdAt", "expiresAt", "lastUsedAt", "clientSecret"],
        wide: &["clientId", "issuerId", "subject", "claims", "revokedAt"],
        verbs: &[
            verb("list", "listCredentials"),
            verb("expiring", "listExpiringCredentials"),
            verb("create", "createCredential"),
            verb("rotate", "rotateCredential"),
            asking(
                verb("revoke", "revokeCredential"),
                "is final: the agent cannot authenticate with the credential any more",
            ),
        ],
    },
    Resource {
        name: "orgs",
        about: "Manage organizations",
        id: "organizationId",
        columns: &["organizationId", "slug", "name", "plan", "status"],
        wide: &["resources", "limits", "createdAt"],
        verbs: &[
            verb("list", "listOrganizations"),
            verb("get", "getOrganization"),
            verb("create", "createOrganization"),
            verb("update", "updateOrganization"),
            asking(
                status("suspend", "updateOrganization", "suspended"),
                "revokes the tokens of all its agents and lets them get no others",
            ),
            status("reactivate", "updateOrganization", "active"),
        ],
    },
    Resource {
        name: "issuers",
        about: "Manage trusted issuers, by which agents authenticate without a secret",
        id: "issuerId",
        columns: &["issuerId", "name", "issuer", "status"],
        wide: &["organizationId", "algorithms", "audiences", "managedBy", "createdAt"],
        verbs: &[
            verb("list", "listIssuers"),
            verb("get", "getIssuer"),
            verb("create", "createIssuer"),
            verb("update", "updateIssuer"),
            asking(
                status("suspend", "updateIssuer", "suspended"),
                "revokes every token that rests on the issuer",
            ),
            status("reactivate", "updateIssuer", "active"),
            asking(
                verb("delete", "deleteIssuer"),
                "is final: it revokes every token that rests on the issuer",
            ),
            verb("explain", "explainAssertion"),
            verb("revoke-subject", "revokeIssuerSubject"),
        ],
    },
    Resource {
        name: "audit",
        about: "Read, follow and export the audit log",
        id: "eventId",
        columns: &["timestamp", "action", "outcome", "agentId", "resource"],
        wide: &["eventId", "organizationId", "ipAddress", "userAgent", "traceId", "metadata"],
        verbs: &[verb("list", "listAuditEvents"), verb("get", "getAuditEvent")],
    },
    Resource {
        name: "usage",
        about: "Show usage and limits of an organization",
        id: "organizationId",
        columns: &["organizationId", "plan", "month", "agents", "tokens"],
        wide: &[],
        verbs: &[verb("", "getUsage")],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::commands::resource;
    use crate::document::{operation, operations};
    use crate::flags::HANDLED;

    /// Operations that other commands use, and operations that no command needs, each with the place or the reason.
    const ELSEWHERE: [(&str, &str); 13] = [
        ("issueToken", "token get, token exchange"),
        ("introspectToken", "token introspect"),
        ("revokeToken", "token revoke"),
        ("revokeTokenById", "token revoke"),
        ("getTokenTree", "token tree"),
        ("getJwks", "status"),
        ("getServerMetadata", "status, and client assertions"),
        ("getHealth", "status"),
        ("getReadiness", "status"),
        ("authorize", "answers only that agents use client credentials"),
        ("judgeRequest", "is for proxies"),
        ("getOpenidConfiguration", "the same as getServerMetadata"),
        ("getResourceMetadata", "is for resource servers"),
    ];

    fn verbs() -> impl Iterator<Item = (&'static Resource, &'static Verb)> {
        static ALL: [Resource; RESOURCES.len()] = RESOURCES;
        ALL.iter().flat_map(|resource| resource.verbs.iter().map(move |verb| (resource, verb)))
    }

    #[test]
    fn every_operation_has_a_command_or_a_reason_to_have_none() {
        let known: BTreeSet<&str> = operations().into_iter().map(|(id, _)| id).collect();
        let reached = verbs().map(|(_, verb)| verb.operation).chain(ELSEWHERE.map(|(id, _)| id));
        assert_eq!(reached.collect::<BTreeSet<_>>(), known);
    }

    #[test]
    fn every_field_has_exactly_one_flag() {
        for (resource, verb) in verbs().filter(|(_, verb)| verb.sets.is_none()) {
            let command = resource::command(resource);
            let command = command.find_subcommand(verb.name).unwrap_or(&command);
            let operation = operation(verb.operation);
            for field in operation.query.iter().chain(operation.body.iter().flatten()) {
                let flags = command.get_arguments().filter(|arg| arg.get_id() == field.name).count();
                let expected = usize::from(!HANDLED.contains(&field.name));
                assert_eq!(flags, expected, "{} {}: {}", resource.name, verb.name, field.name);
            }
        }
    }

    #[test]
    fn every_change_requires_a_scope() {
        for (resource, verb) in verbs() {
            assert!(!operation(verb.operation).scopes.is_empty(), "{} {}", resource.name, verb.name);
        }
    }
}
