// @ts-check
// Usage of an organization against its limits.

/** @import { Usage } from "../types" */
/** @import { Context } from "../ui.js" */

import { html } from "../html.js";
import { AgentName } from "../names.js";
import { count, isId } from "../text.js";
import { Empty, Facts, Heading, Id, Input, Loading, Meter, Section, Table, Trouble, to, useData } from "../ui.js";

/** @typedef {Usage["tokens"]["byClient"][number]} Row */

/** @param {Context} context */
export default function UsageView({ session, place }) {
  const clientId = place.query.get("client") ?? "";
  const organizationId = place.query.get("organization") ?? "";
  const { data, failure, isLoading, reload } = useData(`${organizationId} ${clientId}`, async (signal) => {
    /** @type {Usage} */
    const usage = await session.request("usage", { query: { organizationId, clientId }, signal });
    return usage;
  });
  /** @param {Event} event */
  function find(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    /** @param {string} name */
    const id = (name) => String(form.get(name)).trim().toLowerCase();
    location.hash = to(["usage"], { organization: id("organization"), client: id("client") });
  }
  return html`
    <${Heading} title="Usage" lead="Agents, and tokens that were issued in this calendar month (UTC)." />
    <form class="filters" role="search" onSubmit=${find}>
      <${Input} name="client" label="Agent" value=${clientId} hint="The ID of one agent; reports on its organization" key=${`agent ${clientId}`} />
      <${Input} name="organization" label="Organization" value=${organizationId} hint="The ID of an organization, by default your own" key=${`organization ${organizationId}`} />
      <div class="filter-actions"><button type="submit" class="button">Show</button>
        ${(clientId || organizationId) && html`<a class="button quiet" href=${to(["usage"])}>Clear</a>`}</div>
    </form>
    ${[clientId, organizationId].some((id) => id && !isId(id)) && html`<p class="muted">This is not an ID. Copy one from the page of the agent or the organization.</p>`}
    <${Trouble} failure=${failure} retry=${reload} />
    ${!data && isLoading && html`<${Loading} />`}
    ${data && html`
      <div class="columns">
        <${Section} title="Organization"><${Facts} of=${[
          ["Organization", html`<${Id} of=${data.organizationId} />`],
          ["Plan", data.plan],
          ["Month", data.month],
          ["Tokens issued", count(data.tokens.used)],
        ]} /><//>
        <${Section} title="Agents"><${Meter} label="Not decommissioned" used=${data.agents.used} limit=${data.agents.limit} />
          <p class="small muted">Decommissioned agents do not count.</p><//>
      </div>
      <${Section} title=${clientId ? "Tokens of this agent" : "Tokens by agent, the 100 busiest"} isFlush>
        ${data.tokens.byClient.length === 0
          ? html`<${Empty} title="No tokens this month">An agent appears here once it has got a token.<//>`
          : html`<${Table} caption="Tokens by agent" rows=${data.tokens.byClient} keyOf=${(/** @type {Row} */ row) => row.clientId} columns=${[
              { label: "Agent", kind: "main", cell: (/** @type {Row} */ row) => html`<${AgentName} session=${session} id=${row.clientId} />` },
              { label: "Tokens", cell: (/** @type {Row} */ row) => html`<${Meter} label="" used=${row.used} limit=${row.limit} />` },
            ]} />`}
      <//>`}`;
}
