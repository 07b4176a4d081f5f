// @ts-check
// The state of everything at a glance.

/** @import { Agent, AgentPage, Credential, CredentialPage, Usage } from "../types" */
/** @import { Context } from "../ui.js" */

import { path } from "../api.js";
import { html, useState } from "../html.js";
import { AgentName, namesOf } from "../names.js";
import { count, counted } from "../text.js";
import { Empty, Heading, Lacking, Loading, Meter, Moment, Section, Table, Trouble, asFailure, to, useData } from "../ui.js";
import { Events } from "./events.js";

/** Agents whose credentials are looked at in one step, because the API lists credentials by agent only. */
const STEP = 10;
/** Days within which a credential expires soon. */
const SOON_DAYS = 30;

/** @param {Context} context */
export default function Overview({ session }) {
  const canRead = session.scopes.has("agents:read");
  return html`
    <${Heading} title="Overview" />
    ${canRead ? html`<${Numbers} session=${session} />` : html`<${Lacking} scope="agents:read" what="The state of the agents" />`}
    ${session.scopes.has("audit:read")
      ? html`<${Events} session=${session} title="Recent failures" filter=${{ outcome: "failure" }} limit=${8}
          empty="Nothing has failed. Refused sign-ins and requests appear here." />`
      : html`<${Lacking} scope="audit:read" what="The list of failures" />`}
    ${canRead && html`<${Expiring} session=${session} />`}`;
}

/** @param {Pick<Context, "session">} props */
function Numbers({ session }) {
  const { data, failure, isLoading, reload } = useData("numbers", async (signal) => {
    const total = async (/** @type {string} */ status) => {
      /** @type {AgentPage} */
      const page = await session.request("agents", { query: { status, limit: 1 }, signal });
      return page.total;
    };
    const usage = /** @type {Promise<Usage>} */ (session.request("usage", { signal }));
    const [active, suspended, decommissioned, used] =
      await Promise.all([total("active"), total("suspended"), total("decommissioned"), usage]);
    return { active, suspended, decommissioned, usage: used };
  });
  if (failure) return html`<${Trouble} failure=${failure} retry=${reload} />`;
  if (!data) return isLoading && html`<${Loading} />`;
  const { usage } = data;
  const [busiest] = usage.tokens.byClient;
  const number = (/** @type {string} */ label, /** @type {number} */ value, /** @type {string} */ status) =>
    html`<a class="number" href=${to(["agents"], { status })}><span>${label}</span><strong>${count(value)}</strong></a>`;
  return html`
    <div class="numbers">
      ${number("Active agents", data.active, "active")}
      ${number("Suspended", data.suspended, "suspended")}
      ${number("Decommissioned", data.decommissioned, "decommissioned")}
      <a class="number" href=${to(["usage"])}><span>Tokens this month</span><strong>${count(usage.tokens.used)}</strong></a>
    </div>
    <${Section} title="Against the limits" actions=${html`<a href=${to(["usage"])}>Usage</a>`}>
      <div class="columns">
        <${Meter} label="Agents of your organization" used=${usage.agents.used} limit=${usage.agents.limit} />
        ${busiest
          ? html`<div><${Meter} label="Tokens of the busiest agent" used=${busiest.used} limit=${busiest.limit} />
              <p class="small muted"><${AgentName} session=${session} id=${busiest.clientId} /></p></div>`
          : html`<p class="muted">No tokens were issued this month.</p>`}
      </div>
    <//>`;
}

/** @typedef {{ agent: Agent, credential: Credential }} Found */

/** @param {Pick<Context, "session">} props */
function Expiring({ session }) {
  const [state, setState] = useState({ page: 0, checked: 0, total: Infinity, isBusy: false, found: /** @type {Found[]} */ ([]) });
  const [failure, setFailure] = useState(/** @type {ReturnType<typeof asFailure> | undefined} */ (undefined));
  async function step() {
    setState((before) => ({ ...before, isBusy: true }));
    setFailure(undefined);
    const until = Date.now() + SOON_DAYS * 86_400_000;
    try {
      /** @type {AgentPage} */
      const agents = await session.request("agents", { query: { status: "active", page: state.page + 1, limit: STEP } });
      const found = await Promise.all(agents.data.map(async (agent) => {
        namesOf(session).learn(agent.agentId, agent.email);
        /** @type {CredentialPage} */
        const page = await session.request(path("agents", agent.agentId, "credentials"), { query: { status: "active", limit: 100 } });
        const soon = page.data.filter(({ expiresAt }) => expiresAt && new Date(expiresAt).getTime() < until && new Date(expiresAt).getTime() > Date.now());
        return soon.map((credential) => ({ agent, credential }));
      }));
      setState((before) => ({
        page: before.page + 1, checked: before.checked + agents.data.length, total: agents.total, isBusy: false,
        found: [...before.found, ...found.flat()].sort((one, other) => String(one.credential.expiresAt).localeCompare(String(other.credential.expiresAt))),
      }));
    } catch (error) {
      setState((before) => ({ ...before, isBusy: false }));
      setFailure(asFailure(error));
    }
  }
  useData("first", () => step());
  const hasMore = state.checked < state.total;
  return html`<${Section} title=${`Credentials that expire within ${SOON_DAYS} days`} isFlush>
    <${Trouble} failure=${failure} />
    ${state.page > 0 && state.found.length === 0 && html`<${Empty} title="None found">
      No credential of the agents that were checked expires soon.<//>`}
    ${state.found.length > 0 && html`<${Table} caption="Credentials that expire soon" rows=${state.found}
      keyOf=${(/** @type {Found} */ row) => row.credential.credentialId} columns=${[
        { label: "Agent", kind: "main", cell: (/** @type {Found} */ row) => html`<${AgentName} session=${session} id=${row.agent.agentId} />` },
        { label: "Kind", cell: (/** @type {Found} */ row) => row.credential.type.replace("_", " ") },
        { label: "Expires", kind: "end", cell: (/** @type {Found} */ row) => html`<${Moment} of=${row.credential.expiresAt} isNear />` },
      ]} />`}
    <div class="more">
      <p role="status">${state.page === 0 ? "Checking…" : `${count(state.checked)} of ${counted(state.total, "active agent")} checked, newest first.`}</p>
      ${hasMore && state.page > 0 && html`<button type="button" class="button small" aria-busy=${state.isBusy ? "true" : null} onClick=${() => !state.isBusy && step()}>Check ${STEP} more</button>`}
    </div>
  <//>`;
}
