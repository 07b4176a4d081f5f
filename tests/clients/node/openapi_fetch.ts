// openapi-typescript and openapi-fetch: calls the API with the types that were generated from the document into api.ts.

import { ok, strictEqual } from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.ts";

const { ISSUER, ADMIN_ID, ADMIN_SECRET } = process.env as Record<string, string>;
const within30s = (request: Request) => fetch(request, { signal: AbortSignal.timeout(30_000) });
const anonymous = createClient<paths>({ baseUrl: ISSUER, fetch: within30s });
const asForm = { headers: { "Content-Type": "application/x-www-form-urlencoded" } };

function token(client_id: string, client_secret: string) {
    const body = { grant_type: "client_credentials" as const, client_id, client_secret };
    return anonymous.POST("/api/v1/token", { body, ...asForm });
}

const { data: issued } = await token(ADMIN_ID, ADMIN_SECRET);
const headers = { Authorization: `Bearer ${issued!.access_token}` };
const client = createClient<paths>({ baseUrl: ISSUER, fetch: within30s, headers });

const body: components["schemas"]["CreateAgentRequest"] = {
    email: "generated@example.com",
    agentType: "router",
    version: "1.0.0",
    capabilities: ["tools:call"],
    owner: "generated",
    deploymentEnv: "staging",
};
const { data: agent } = await client.POST("/api/v1/agents", { body });
strictEqual(agent!.status, "active");
const path = { agentId: agent!.agentId };
const { data: credential } = await client.POST("/api/v1/agents/{agentId}/credentials", { params: { path }, body: {} });
const { data: itsToken } = await token(agent!.agentId, credential!.clientSecret!);
const presented = { token: itsToken!.access_token };
const { data: about } = await client.POST("/api/v1/token/introspect", { body: presented, ...asForm });
ok(about!.active && about!.sub === agent!.agentId && about!.scope === "tools:call");

const query = { owner: "generated", agentType: "router" } as const;
const { data: listing } = await client.GET("/api/v1/agents", { params: { query } });
strictEqual(listing!.total, 1);
strictEqual(listing!.data[0].agentId, agent!.agentId);

const events: components["schemas"]["AuditEvent"][] = [];
let cursor: string | null | undefined;
do {
    const query = { limit: 1, action: "agent.created" as const, cursor: cursor ?? undefined };
    const { data: page } = await client.GET("/api/v1/audit", { params: { query } });
    events.push(...page!.data);
    cursor = page!.nextCursor;
} while (cursor);
strictEqual(events[0].resource!.id, agent!.agentId);
ok(events.length > 1 && new Set(events.map((event) => event.eventId)).size === events.length);

const { response, error: taken } = await client.POST("/api/v1/agents", { body });
strictEqual(response.status, 409);
strictEqual(taken!.code, "AGENT_ALREADY_EXISTS");
const { error: wrong } = await token(agent!.agentId, "wrong");
ok(!("code" in wrong!) && wrong!.error === "invalid_client");
