// @ts-check
// One agent: its fields, credentials, actors, tokens and events, and the ways to stop it.

/** @import { Agent } from "../types" */
/** @import { Context } from "../ui.js" */

import { path } from "../api.js";
import { html, useState } from "../html.js";
import { AgentName, namesOf } from "../names.js";
import { Confirm, Empty, Facts, Heading, Id, Lacking, Loading, Moment, Pill, Section, Text, Trouble, to, useData } from "../ui.js";
import { EditAgent } from "./agent-form.js";
import { Credentials } from "./credentials.js";
import { Events } from "./events.js";

/** @typedef {"edit" | "suspend" | "reactivate" | "revoke" | "decommission"} Action */

/** @param {Context & { id: string }} props */
export default function One({ session, notify, id }) {
  const [action, setAction] = useState(/** @type {Action | null} */ (null));
  const [turn, setTurn] = useState(0);
  const { data: agent, failure, reload } = useData(id, async (signal) => {
    /** @type {Agent} */
    const agent = await session.request(path("agents", id), { signal });
    namesOf(session).learn(agent.agentId, agent.email);
    return agent;
  });
  if (!agent) {
    return html`<${Heading} title="Agent" back=${["Agents", to(["agents"])]} />
      ${failure ? html`<${Trouble} failure=${failure} retry=${reload} />` : html`<${Loading} />`}`;
  }
  const close = () => setAction(null);
  const done = (/** @type {string} */ said) => {
    setAction(null);
    setTurn((turn) => turn + 1);
    reload();
    if (said) notify(said);
  };
  const canWrite = session.scopes.has("agents:write") && agent.status !== "decommissioned";
  const button = (/** @type {Action} */ name, /** @type {string} */ label, /** @type {string} */ kind = "") =>
    html`<button type="button" class=${`button ${kind}`} onClick=${() => setAction(name)}>${label}</button>`;
  return html`
    <${Heading} back=${["Agents", to(["agents"])]} title=${html`<${Text} of=${agent.email} />`}
      lead=${html`<${Pill} of=${agent.status} /> <${Id} of=${agent.agentId} />`}>
      ${canWrite && html`
        ${button("edit", "Change")}
        ${agent.status === "active" ? button("suspend", "Suspend") : button("reactivate", "Reactivate")}
        ${button("revoke", "Revoke all tokens", "danger-quiet")}
        ${button("decommission", "Decommission", "danger-quiet")}`}
    <//>
    <div class="columns">
      <${Section} title="Details">
        <${Facts} of=${[
          ["Type", agent.agentType],
          ["Version", html`<${Text} of=${agent.version} />`],
          ["Owner", html`<${Text} of=${agent.owner} />`],
          ["Environment", agent.deploymentEnv],
          ["Organization", session.scopes.has("admin:orgs")
            ? html`<${Id} of=${agent.organizationId} href=${to(["organizations", agent.organizationId])} />`
            : html`<${Id} of=${agent.organizationId} />`],
          ["Managed by", agent.managedBy ? html`<${Text} of=${agent.managedBy} />` : html`<span class="muted">By hand</span>`],
          ["Proof of possession", agent.dpop],
          ["Default resource", agent.defaultResource ? html`<${Text} of=${agent.defaultResource} />` : html`<span class="muted">None</span>`],
          ["Registered", html`<${Moment} of=${agent.createdAt} />`],
          ["Changed", html`<${Moment} of=${agent.updatedAt} />`],
        ]} />
      <//>
      <div class="stack">
        <${Section} title="Capabilities"><ul class="tags">${agent.capabilities.map((one) => html`<li><${Text} of=${one} /></li>`)}</ul><//>
        <${Section} title="Who may act for it"><${Actors} session=${session} agent=${agent} /><//>
      </div>
    </div>
    <${Credentials} session=${session} notify=${notify} agent=${agent} key=${`credentials-${turn}`} />
    ${session.scopes.has("audit:read")
      ? html`
        <${Events} session=${session} title="Tokens" filter=${{ agentId: id, resourceType: "token" }} key=${`tokens-${turn}`}
          empty="It has got no token yet. Create a credential, then request a token with it." />
        <${Events} session=${session} title="Activity" filter=${{ agentId: id }} key=${`by-${turn}`}
          empty="It has done nothing yet." />
        <${Events} session=${session} title="Changes to it" filter=${{ resourceType: "agent", resourceId: id }} key=${`of-${turn}`}
          empty="No change is recorded." />`
      : html`<${Lacking} scope="audit:read" what="The audit log of this agent" />`}
    ${action === "edit" && html`<${EditAgent} session=${session} notify=${notify} agent=${agent} onClose=${close} onDone=${() => done("")} />`}
    ${action && action !== "edit" && html`<${Stop} action=${action} agent=${agent} session=${session} onClose=${close} onDone=${done} />`}`;
}

/** @param {Pick<Context, "session"> & { agent: Agent }} props */
function Actors({ session, agent }) {
  if (agent.mayAct.length === 0) {
    return html`<${Empty} title="No agent may act for it">Change the agent to allow others to exchange its tokens.<//>`;
  }
  const isPassed = html`<p class="small muted">${agent.redelegation ? "An actor may pass this authority on." : "An actor may not pass this authority on."}</p>`;
  if (agent.mayAct.includes("*")) return html`<p>Every agent of its organization.</p>${isPassed}`;
  return html`<ul class="plain">${agent.mayAct.map((id) => html`<li key=${id}><${AgentName} session=${session} id=${id} /></li>`)}</ul>${isPassed}`;
}

/** Each way to stop an agent: its words and its request. */
const STOPS = {
  suspend: {
    title: "Suspend the agent", action: "Suspend", said: "The agent is suspended, and its tokens are revoked.",
    text: "It gets no tokens until it is reactivated. All tokens that it has are revoked for good, on every instance.",
    request: { method: "PATCH", body: { status: "suspended" } }, suffix: [],
  },
  reactivate: {
    title: "Reactivate the agent", action: "Reactivate", said: "The agent is active again.",
    text: "It can get tokens again. The tokens that it had stay revoked.",
    request: { method: "PATCH", body: { status: "active" } }, suffix: [],
  },
  revoke: {
    title: "Revoke all tokens", action: "Revoke all tokens", said: "All tokens of the agent are revoked.",
    text: "Every token that it has now is revoked for good, with all that were exchanged from them. It can get new ones.",
    request: { method: "POST" }, suffix: ["tokens", "revoke"],
  },
  decommission: {
    title: "Decommission the agent", action: "Decommission", said: "The agent is decommissioned.",
    text: "This is final. All of its tokens and credentials are revoked. Its address stays reserved.",
    request: { method: "DELETE" }, suffix: [],
  },
};

/**
 * @param {Pick<Context, "session"> & { action: keyof typeof STOPS, agent: Agent, onClose: () => void,
 *   onDone: (said: string) => void }} props
 */
function Stop({ session, action, agent, onClose, onDone }) {
  const { title, action: label, said, text, request, suffix } = STOPS[action];
  return html`<${Confirm} title=${title} action=${label} word=${agent.email} noun="e-mail address" onClose=${onClose}
    onConfirm=${async () => {
      await session.request(path("agents", agent.agentId, ...suffix), request);
      onDone(said);
    }}><p>${text}</p><//>`;
}
