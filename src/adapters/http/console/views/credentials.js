// @ts-check
// The credentials of an agent: created, rotated and revoked. A secret is shown once.

/** @import { Agent, Credential, CredentialPage, FieldErrors, IssuerPage } from "../types" */
/** @import { Context } from "../ui.js" */

import { path } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Area, Check, Confirm, Confirmation, Copyable, Dialog, Empty, Form, Id, Input, Loading, Moment, Pill, Section, Select, Table, Text, Trouble, Turns, confirm, useData, wrongValue } from "../ui.js";

const KINDS = /** @type {Record<string, string>} */ ({
  client_secret: "Client secret", public_key: "Public key", federated: "Trusted issuer",
});
const PAGE = 20;

/** @typedef {{ name: "create" } | { name: "rotate" | "revoke", of: Credential } | { name: "secret", of: Credential } | null} Open */

/** @param {Omit<Context, "place"> & { agent: Agent }} props */
export function Credentials({ session, notify, agent }) {
  const [open, setOpen] = useState(/** @type {Open} */ (null));
  const [page, setPage] = useState(1);
  const isShown = useRef(true);
  useEffect(() => () => {
    isShown.current = false;
  }, []);
  const { data, failure, isLoading, reload } = useData(String(page), async (signal) => {
    /** @type {CredentialPage} */
    const credentials = await session.request(path("agents", agent.agentId, "credentials"), { query: { page, limit: PAGE }, signal });
    return credentials;
  });
  const close = () => setOpen(null);
  const isOwn = agent.agentId === session.clientId && session.scopes.has("credentials:write");
  const canWrite = (session.scopes.has("agents:write") || isOwn) && agent.status !== "decommissioned";
  /** @param {Credential} credential */
  const made = (credential) => {
    if (open?.name === "rotate" && agent.agentId === session.clientId) session.rotated(credential.clientSecret ?? "");
    if (!isShown.current && credential.clientSecret) notify("You left before the new secret was shown. Rotate the credential to get another.");
    setOpen(credential.clientSecret ? { name: "secret", of: credential } : null);
    if (!credential.clientSecret) notify("The credential is created.");
    reload();
  };
  const isUsable = (/** @type {Credential} */ credential) => stateOf(credential) === "active";
  return html`<${Section} title="Credentials" isFlush takesFocus actions=${canWrite && agent.status === "active" &&
      html`<button type="button" class="button" onClick=${() => setOpen({ name: "create" })}>Create a credential</button>`}>
    <${Trouble} failure=${failure} retry=${reload} />
    ${!data && isLoading && html`<${Loading} />`}
    ${data && data.data.length === 0 && html`<${Empty} title="It has no credentials">
      Without one it cannot get tokens. ${canWrite ? "Create a credential." : ""}<//>`}
    ${data && data.data.length > 0 && html`<${Table} caption="Credentials" rows=${data.data}
      keyOf=${(/** @type {Credential} */ one) => one.credentialId} columns=${[
        { label: "Credential", kind: "main", cell: (/** @type {Credential} */ one) => html`<${Described} of=${one} />` },
        { label: "Status", cell: (/** @type {Credential} */ one) => html`<${Pill} of=${stateOf(one)} />` },
        { label: "Created", cell: (/** @type {Credential} */ one) => html`<${Moment} of=${one.createdAt} isNear />` },
        { label: "Last used", cell: (/** @type {Credential} */ one) => one.lastUsedAt ? html`<${Moment} of=${one.lastUsedAt} isNear />` : "Never" },
        { label: "Expires", cell: (/** @type {Credential} */ one) => one.expiresAt ? html`<${Moment} of=${one.expiresAt} isNear />` : "Never" },
        ...(canWrite ? [{ label: "Actions", kind: "end", cell: (/** @type {Credential} */ one) => isUsable(one) && html`<span class="actions">
          ${one.type === "client_secret" && html`<button type="button" class="button small" onClick=${() => setOpen({ name: "rotate", of: one })}>Rotate</button>`}
          <button type="button" class="button small danger-quiet" onClick=${() => setOpen({ name: "revoke", of: one })}>Revoke</button></span>` }] : []),
      ]} />`}
    ${data && html`<${Turns} page=${page} limit=${PAGE} total=${data.total} setPage=${setPage} words=${["Newer", "Older"]} />`}
    ${open?.name === "create" && html`<${Create} session=${session} agent=${agent} onClose=${close} onDone=${made} />`}
    ${open?.name === "rotate" && html`<${Rotate} session=${session} agent=${agent} credential=${open.of} onClose=${close} onDone=${made} />`}
    ${open?.name === "revoke" && html`<${Confirm} title="Revoke the credential" action="Revoke" word=${agent.email} noun="e-mail address" onClose=${close}
      onConfirm=${async () => {
        await session.request(path("agents", agent.agentId, "credentials", open.of.credentialId), { method: "DELETE" });
        close();
        notify("The credential is revoked.");
        reload();
      }}><p>The agent can no longer authenticate with it. Tokens that it has already stay valid; revoke them to end them too.</p><//>`}
    ${open?.name === "secret" && html`<${Secret} credential=${open.of} onClose=${close} />`}
  <//>`;
}

/** @param {Credential} credential */
function stateOf(credential) {
  const isOver = credential.expiresAt && new Date(credential.expiresAt).getTime() <= Date.now();
  return credential.status === "active" && isOver ? "expired" : credential.status;
}

/** @param {{ of: Credential }} props */
function Described({ of }) {
  return html`<span class="strong">${KINDS[of.type] ?? of.type}</span> <${Id} of=${of.credentialId} />
    ${of.publicKey && html`<p class="small muted">${of.publicKey.kty} key ${of.publicKey.kid && html`<${Text} of=${of.publicKey.kid} />`}</p>`}
    ${of.type === "federated" && html`<p class="small muted">Issuer <${Id} of=${of.issuerId ?? ""} />${of.subject && html`, subject <${Text} of=${of.subject} />`}</p>`}
    ${of.claims && html`<pre class="small"><${Text} of=${JSON.stringify(of.claims)} /></pre>`}`;
}

/** @param {{ credential: Credential, onClose: () => void }} props */
function Secret({ credential, onClose }) {
  return html`<${Dialog} title="Store this secret now" onClose=${onClose}>
    <div class="notice warn"><p>It is shown only this once. The service keeps no copy of it.</p></div>
    <${Copyable} label="Client ID" value=${credential.clientId} />
    <${Copyable} label="Client secret" value=${credential.clientSecret ?? ""} />
    <div class="form-actions"><button type="button" class="button primary" onClick=${onClose}>I have stored it</button></div>
  <//>`;
}

/**
 * Returns the moment that a field names, in UTC.
 * @param {FormData} data
 */
function expiryOf(data) {
  const text = String(data.get("expiresAt") ?? "");
  return text ? { expiresAt: new Date(text).toISOString() } : {};
}

/**
 * Reads JSON from a field.
 * @param {FormData} data
 * @param {string} field
 */
function jsonOf(data, field) {
  try {
    return JSON.parse(String(data.get(field)));
  } catch {
    throw wrongValue(field, "Enter valid JSON: an object in braces.");
  }
}

/** @param {Pick<Context, "session"> & { agent: Agent, onClose: () => void, onDone: (credential: Credential) => void }} props */
function Create({ session, agent, onClose, onDone }) {
  const [type, setType] = useState("client_secret");
  const canList = session.scopes.has("issuers:read");
  const issuers = useData(`${type}`, async (signal) => {
    if (type !== "federated" || !canList) return [];
    const query = { limit: 100, organizationId: session.scopes.has("admin:orgs") ? agent.organizationId : "" };
    /** @type {IssuerPage} */
    const page = await session.request("issuers", { query, signal });
    return page.data;
  });
  /** @param {FormData} data */
  async function create(data) {
    /** @type {Record<string, unknown>} */
    const body = { type, ...expiryOf(data) };
    if (type === "public_key") body["publicKey"] = jsonOf(data, "publicKey");
    if (type === "federated") {
      body["issuerId"] = String(data.get("issuerId") ?? "").trim();
      if (data.get("subject")) body["subject"] = String(data.get("subject"));
      if (String(data.get("claims") ?? "").trim()) body["claims"] = jsonOf(data, "claims");
    }
    onDone(await session.request(path("agents", agent.agentId, "credentials"), { method: "POST", body }));
  }
  return html`<${Dialog} title="Create a credential" onClose=${onClose}>
    <${Form} action="Create" onSend=${create} onCancel=${onClose}>${(/** @type {FieldErrors} */ errors) => html`
      <${Select} name="type" label="Kind" errors=${errors} value=${type} onChange=${setType} options=${Object.entries(KINDS)}
        hint=${type === "client_secret" ? "A generated secret, shown once." : type === "public_key" ? "The agent keeps the private key." : "The agent needs no secret: JWTs of the issuer authenticate it."} />
      ${type === "public_key" && html`<${Area} name="publicKey" label="Public key (JWK)" errors=${errors} rows=${5} hint='Such as {"kty":"OKP","crv":"Ed25519","x":"…"}' />`}
      ${type === "federated" && html`
        <${Trouble} failure=${issuers.failure} retry=${issuers.reload} />
        ${canList && !issuers.failure ? html`<${Select} name="issuerId" label="Issuer" errors=${errors}
            options=${[["", "Choose an issuer"], ...(issuers.data ?? []).map((one) => [one.issuerId, one.name])]} />`
          : html`<${Input} name="issuerId" label="ID of the issuer" errors=${errors} />`}
        <${Input} name="subject" label="Subject" errors=${errors} hint="The exact sub of its JWTs" />
        <${Area} name="claims" label="Claims" errors=${errors} rows=${3} hint="Optional JSON: names with the value that each must have" />`}
      <${Input} name="expiresAt" label="Expires" type="datetime-local" errors=${errors} hint="Optional, in your time zone" />`}
    <//>
  <//>`;
}

/** @param {Pick<Context, "session"> & { agent: Agent, credential: Credential, onClose: () => void, onDone: (credential: Credential) => void }} props */
function Rotate({ session, agent, credential, onClose, onDone }) {
  const [grace, setGrace] = useState("3600");
  const [revokesTokens, setRevokesTokens] = useState(false);
  // Whatever uses the old secret or a token stops.
  const isDanger = grace === "0" || revokesTokens;
  /** @param {FormData} data */
  async function rotate(data) {
    if (isDanger) confirm(data, { word: agent.email, noun: "e-mail address" });
    const body = {
      graceSeconds: Number(data.get("graceSeconds")), revokeTokens: data.get("revokeTokens") !== null, ...expiryOf(data),
    };
    onDone(await session.request(path("agents", agent.agentId, "credentials", credential.credentialId, "rotate"), { method: "POST", body }));
  }
  return html`<${Dialog} title="Rotate the secret" onClose=${onClose}>
    <${Form} action="Rotate" isDanger=${isDanger} onSend=${rotate} onCancel=${onClose}>${(/** @type {FieldErrors} */ errors) => html`
      <p>The credential gets a new secret and keeps its ID.</p>
      <${Select} name="graceSeconds" label="The old secret works" errors=${errors} value=${grace} onChange=${setGrace}
        options=${[["0", "no longer"], ["3600", "for another hour"], ["86400", "for another day"], ["604800", "for another week"]]} />
      <${Input} name="expiresAt" label="The new secret expires" type="datetime-local" errors=${errors} hint="Optional; without it, the expiry does not change" />
      <${Check} name="revokeTokens" label="Revoke all tokens of the agent too" onChange=${setRevokesTokens} />
      ${isDanger && html`<${Confirmation} word=${agent.email} noun="e-mail address" errors=${errors} />`}`}
    <//>
  <//>`;
}
