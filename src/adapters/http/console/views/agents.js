// @ts-check
// The list of agents, and the way to a new or to one agent.

/** @import { Agent, AgentPage, Organization } from "../types" */
/** @import { Context } from "../ui.js" */

import { html } from "../html.js";
import { namesOf } from "../names.js";
import { isId } from "../text.js";
import { Empty, Heading, Loading, Moment, Pager, Pill, Section, Select, Table, Text, Trouble, to, useData } from "../ui.js";
import One from "./agent.js";
import { NewAgent, TYPES } from "./agent-form.js";

const PAGE = 25;

/** @param {Context} context */
export default function Agents(context) {
  const [, id] = context.place.path;
  if (id === "new") return html`<${NewAgent} ...${context} />`;
  if (id) return html`<${One} ...${context} id=${id} />`;
  return html`<${List} ...${context} />`;
}

/**
 * Returns the filter that a searched text stands for. The service compares whole values.
 * @param {string} text
 */
function filterOf(text) {
  if (!text) return {};
  return text.includes("@") ? { email: text } : { owner: text };
}

/** @param {Context} context */
function List({ session, place }) {
  const { query } = place;
  const page = Math.max(1, Number(query.get("page")) || 1);
  const [search, status, agentType, organizationId] =
    ["search", "status", "type", "organization"].map((name) => query.get(name) ?? "");
  const names = namesOf(session);
  const { data, failure, isLoading, reload } = useData(query.toString(), async (signal) => {
    /** @type {AgentPage} */
    const agents = await session.request("agents", {
      query: { ...filterOf(search ?? ""), status, agentType, organizationId, page, limit: PAGE }, signal,
    });
    for (const agent of agents.data) names.learn(agent.agentId, agent.email);
    return agents;
  });
  const isAdmin = session.scopes.has("admin:orgs");
  const organizations = useData(String(isAdmin), async (signal) => {
    /** @type {Organization[]} */
    const known = isAdmin ? (await session.request("organizations", { query: { limit: 100 }, signal })).data : [];
    return known;
  });
  const nameOf = (/** @type {string} */ id) =>
    organizations.data?.find((organization) => organization.organizationId === id)?.name;
  const choices = (organizations.data ?? []).map((one) => [one.organizationId, one.name]);
  // The newest 100 are offered. The page of any other leads here too.
  if (organizationId && !nameOf(organizationId)) choices.push([organizationId, organizationId]);

  /** @param {Record<string, string | number>} changes */
  const hrefOf = (changes) => to(["agents"], { ...Object.fromEntries(query), ...changes });
  /** @param {SubmitEvent} event */
  function find(event) {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const text = String(data.get("search")).trim();
    location.hash = isId(text) ? to(["agents", text.toLowerCase()]) : hrefOf({ search: text, page: "" });
  }
  const isFiltered = Boolean(search || status || agentType || organizationId);
  return html`
    <${Heading} title="Agents" lead="Every agent is an OAuth client with a permanent identity.">
      ${session.scopes.has("agents:write") && html`<a class="button primary" href=${to(["agents", "new"])}>Register an agent</a>`}
    <//>
    <form class="filters" role="search" onSubmit=${find}>
      <div class="field grow">
        <label for="search">Search</label>
        <div class="copyable">
          <input id="search" name="search" type="search" key=${search} defaultValue=${search} aria-describedby="search-hint" autocomplete="off" />
          <button type="submit" class="button">Search</button>
        </div>
        <p class="hint" id="search-hint">The whole e-mail address, ID or owner</p>
      </div>
      <${Select} name="status" label="Status" value=${status} options=${[["", "Any"], "active", "suspended", "decommissioned"]}
        onChange=${(/** @type {string} */ value) => { location.hash = hrefOf({ status: value, page: "" }); }} />
      <${Select} name="type" label="Type" value=${agentType} options=${[["", "Any"], ...TYPES]}
        onChange=${(/** @type {string} */ value) => { location.hash = hrefOf({ type: value, page: "" }); }} />
      ${isAdmin && html`<${Select} name="organization" label="Organization" value=${organizationId}
        options=${[["", "Any"], ...choices]}
        onChange=${(/** @type {string} */ value) => { location.hash = hrefOf({ organization: value, page: "" }); }} />`}
    </form>
    <${Trouble} failure=${organizations.failure} retry=${organizations.reload} />
    <${Trouble} failure=${failure} retry=${reload} />
    ${!data && isLoading && html`<${Loading} />`}
    ${data && html`<${Section} title="Agents found" isFlush>
      ${data.data.length === 0
        ? html`<${Empty} title=${isFiltered ? "No agent matches" : "There are no agents yet"}>
            ${isFiltered ? html`Change the filters, or <a href=${to(["agents"])}>show all agents</a>.`
              : html`<a href=${to(["agents", "new"])}>Register an agent</a>, then create a credential for it.`}<//>`
        : html`<${Table} caption="Agents" rows=${data.data} keyOf=${(/** @type {Agent} */ agent) => agent.agentId} columns=${[
            { label: "Agent", kind: "main", cell: (/** @type {Agent} */ agent) =>
              html`<a class="strong" href=${to(["agents", agent.agentId])}><${Text} of=${agent.email} /></a>` },
            { label: "Status", cell: (/** @type {Agent} */ agent) => html`<${Pill} of=${agent.status} />` },
            { label: "Type", cell: (/** @type {Agent} */ agent) =>
              html`<div>${agent.agentType}<div class="small muted">${agent.deploymentEnv}</div></div>` },
            { label: "Owner", cell: (/** @type {Agent} */ agent) => html`<${Text} of=${agent.owner} />` },
            ...(isAdmin ? [{ label: "Organization", cell: (/** @type {Agent} */ agent) =>
              html`<${Text} of=${nameOf(agent.organizationId) ?? agent.organizationId.slice(0, 8)} />` }] : []),
            { label: "Registered", cell: (/** @type {Agent} */ agent) => html`<${Moment} of=${agent.createdAt} isNear />` },
          ]} />`}
    <//>
    <${Pager} page=${page} limit=${PAGE} total=${data.total} noun="agents" hrefOf=${(/** @type {number} */ page) => hrefOf({ page })} />`}`;
}
