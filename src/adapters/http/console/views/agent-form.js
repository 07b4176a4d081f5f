// @ts-check
// The fields of an agent: to register one, and to change one.

/** @import { Agent, FieldErrors } from "../types" */
/** @import { Context } from "../ui.js" */

import { Failure, SCOPES, path } from "../api.js";
import { html } from "../html.js";
import { words } from "../text.js";
import { Area, Check, Dialog, Form, Heading, Input, Section, Select, to, wrongValue } from "../ui.js";
import { OrganizationField } from "./organization-field.js";

export const TYPES = ["screener", "classifier", "orchestrator", "extractor", "summarizer", "router", "monitor", "custom"];
const ENVIRONMENTS = ["development", "staging", "production"];

/**
 * The fields that can be changed later too.
 * @param {{ agent?: Agent, errors: FieldErrors }} props
 */
function Fields({ agent, errors }) {
  return html`
    <div class="pair">
      <${Select} name="agentType" label="Type" errors=${errors} value=${agent?.agentType ?? "custom"} options=${TYPES} />
      <${Input} name="version" label="Version" errors=${errors} value=${agent?.version ?? "1.0.0"} hint="Such as 1.2.3" />
    </div>
    <div class="pair">
      <${Input} name="owner" label="Owner" errors=${errors} value=${agent?.owner} hint="The team or person responsible for it" />
      <${Select} name="deploymentEnv" label="Environment" errors=${errors} value=${agent?.deploymentEnv ?? "development"} options=${ENVIRONMENTS} />
    </div>
    <${Area} name="capabilities" label="Capabilities" errors=${errors} value=${agent?.capabilities.join("\n")} rows=${4}
      hint=${`The scopes that it may request, one a line, such as documents:read. These give access to this API: ${SCOPES.join(", ")}.`} />
    <details>
      <summary>Delegation and tokens</summary>
      <${Area} name="mayAct" label="Agents that may act for it" errors=${errors} value=${agent?.mayAct.join("\n")} rows=${2}
        hint="IDs of agents, one a line, or * for every agent of the organization" />
      <${Check} name="redelegation" label="An actor may pass this authority on" isChecked=${agent?.redelegation} />
      <${Select} name="dpop" label="Proof of possession (DPoP)" errors=${errors} value=${agent?.dpop ?? "optional"} options=${["optional", "required"]} />
      <${Input} name="defaultResource" label="Default resource" errors=${errors} value=${agent?.defaultResource ?? ""}
        hint="Audience of its tokens if its client requests none: one of the organization's resources" />
    </details>`;
}

/**
 * Returns the body of a request from the fields.
 * @param {FormData} data
 */
function bodyOf(data) {
  const text = (/** @type {string} */ name) => String(data.get(name) ?? "").trim();
  return {
    agentType: text("agentType"),
    version: text("version"),
    owner: text("owner"),
    deploymentEnv: text("deploymentEnv"),
    capabilities: words(data.get("capabilities")),
    mayAct: words(data.get("mayAct")),
    redelegation: data.get("redelegation") !== null,
    dpop: text("dpop"),
    defaultResource: text("defaultResource") || null,
  };
}

/** @param {Context} context */
export function NewAgent({ session, notify }) {
  /** @param {FormData} data */
  async function register(data) {
    const { defaultResource, ...body } = bodyOf(data);
    const optional = ["managedBy", "organizationId"].map((name) => [name, String(data.get(name) ?? "").trim()]);
    try {
      /** @type {Agent} */
      const agent = await session.request("agents", { method: "POST", body: {
        email: String(data.get("email")).trim(), ...body, ...(defaultResource ? { defaultResource } : {}),
        ...Object.fromEntries(optional.filter(([, value]) => value)),
      } });
      notify("The agent is registered. Create a credential for it next.");
      return to(["agents", agent.agentId]);
    } catch (error) {
      if (error instanceof Failure && error.code === "AGENT_ALREADY_EXISTS") {
        throw wrongValue("email", "An agent has this address already, perhaps a decommissioned one. Choose another.", error.message);
      }
      throw error;
    }
  }
  return html`
    <${Heading} title="Register an agent" back=${["Agents", to(["agents"])]}
      lead="Its identity is permanent. It can get tokens once you have created a credential for it." />
    <${Section} title="The new agent">
      <${Form} action="Register" onSend=${register} onCancel=${() => { location.hash = to(["agents"]); }}>${(/** @type {FieldErrors} */ errors) => html`
        <${Input} name="email" label="E-mail address" type="email" errors=${errors} hint="Unique within the organization, permanently" />
        <${Fields} errors=${errors} />
        <${OrganizationField} session=${session} errors=${errors} />
        <${Input} name="managedBy" label="Managed by" errors=${errors} hint="Optional: the tool or team that manages it; never changes" />`}
      <//>
    <//>`;
}

/** @param {Omit<Context, "place"> & { agent: Agent, onClose: () => void, onDone: () => void }} props */
export function EditAgent({ session, notify, agent, onClose, onDone }) {
  /** @param {FormData} data */
  async function change(data) {
    // Only what differs is sent, so that a concurrent change of another field is kept.
    const before = /** @type {Record<string, unknown>} */ ({ ...agent, defaultResource: agent.defaultResource ?? null });
    const changed = Object.entries(bodyOf(data)).filter(([name, value]) => JSON.stringify(before[name]) !== JSON.stringify(value));
    if (changed.length > 0) {
      await session.request(path("agents", agent.agentId), { method: "PATCH", body: Object.fromEntries(changed) });
    }
    notify("The agent is changed.");
    onDone();
  }
  return html`<${Dialog} title="Change the agent" onClose=${onClose} isWide>
    <${Form} action="Save" onSend=${change} onCancel=${onClose}>${(/** @type {FieldErrors} */ errors) =>
      html`<${Fields} agent=${agent} errors=${errors} />`}<//>
  <//>`;
}
