// @ts-check
// The state of everything at a glance.

/** @import { AgentPage, Credential, CredentialPage, Usage } from "../types" */
/** @import { Context } from "../ui.js" */

import { html, useState } from "../html.js";
import { AgentName } from "../names.js";
import { count } from "../text.js";
import { Empty, Heading, Lacking, Loading, Meter, Moment, Section, Table, Trouble, Turns, to, useData } from "../ui.js";
import { Events } from "./events.js";

const PAGE = 10;

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

/** @param {Pick<Context, "session">} props */
function Expiring({ session }) {
  const [page, setPage] = useState(1);
  const { data, failure, isLoading, reload } = useData(String(page), async (signal) => {
    /** @type {CredentialPage} */
    const credentials = await session.request("credentials", { query: { page, limit: PAGE }, signal });
    return credentials;
  });
  return html`<${Section} title="Credentials that expire within 30 days" isFlush takesFocus>
    <${Trouble} failure=${failure} retry=${reload} />
    ${!data && isLoading && html`<${Loading} />`}
    ${data && data.data.length === 0 && html`<${Empty} title="None">No credential expires soon${page > 1 && " after those of the page before"}.<//>`}
    ${data && data.data.length > 0 && html`<${Table} caption="Credentials that expire soon" rows=${data.data}
      keyOf=${(/** @type {Credential} */ one) => one.credentialId} columns=${[
        { label: "Agent", kind: "main", cell: (/** @type {Credential} */ one) => html`<${AgentName} session=${session} id=${one.clientId} />` },
        { label: "Kind", cell: (/** @type {Credential} */ one) => one.type.replace("_", " ") },
        { label: "Expires", kind: "end", cell: (/** @type {Credential} */ one) => html`<${Moment} of=${one.expiresAt} isNear />` },
      ]} />`}
    ${data && html`<${Turns} page=${page} limit=${PAGE} total=${data.total} setPage=${setPage} words=${["Sooner", "Later"]} />`}
  <//>`;
}
