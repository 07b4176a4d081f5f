// @ts-check
// The delegation tree of a token: which tokens were exchanged from it, by which agents, for which party.

/** @import { TokenTree, TreeToken } from "../types" */
/** @import { Context } from "../ui.js" */
/** @import { View } from "../html.js" */

import { path } from "../api.js";
import { html, useState } from "../html.js";
import { AgentName, useName } from "../names.js";
import { isId, plain, short } from "../text.js";
import { Confirm, Dialog, Empty, Facts, Form, Heading, Id, Input, Loading, Moment, Pill, Section, Table, Text, Trouble, to, useData, wrongValue } from "../ui.js";
import { Events } from "./events.js";

/** Size of a node of the picture, and the space between nodes. */
const [WIDTH, HEIGHT, GAP_X, GAP_Y] = [232, 62, 52, 16];

/** @param {Context} context */
export default function Tokens(context) {
  const [, id] = context.place.path;
  return id ? html`<${Tree} ...${context} id=${id} />` : html`<${Find} ...${context} />`;
}

/**
 * Returns the ID of a token: the text itself, or the `jti` of a JWT. A JWT is not sent to the service.
 * @param {string} text
 */
function idOf(text) {
  if (isId(text)) return text.toLowerCase();
  try {
    const [, claims = ""] = text.split(".");
    const { jti } = JSON.parse(atob(claims.replace(/-/g, "+").replace(/_/g, "/")));
    return isId(String(jti)) ? String(jti) : "";
  } catch {
    return "";
  }
}

/** @param {Context} context */
function Find({ session }) {
  return html`
    <${Heading} title="Delegation" lead="An agent can exchange a token for one with which it acts for another party. Each exchange adds a branch to a tree." />
    <${Section} title="Find a token">
      <${Form} action="Show the tree" onSend=${async (/** @type {FormData} */ data) => {
        const id = idOf(String(data.get("token")).trim());
        if (!id) {
          throw wrongValue("token", "Enter the ID of a token (jti), or an access token of this service.", "This is no token.");
        }
        return to(["tokens", id]);
      }}>${(/** @type {Record<string, string>} */ errors) => html`<${Input} name="token" label="Token ID, or access token" errors=${errors}
        hint="The audit log names the ID of each token. An access token is read here and is not sent." more=${{ class: "mono" }} />`}<//>
    <//>
    <${Events} session=${session} title="Latest exchanges" filter=${{ action: "token.exchanged" }} limit=${10}
      empty="No token was exchanged yet. Let an agent allow others to act for it, and they can exchange its tokens." />`;
}

/**
 * @typedef {{ token: TreeToken, x: number, y: number, parent: Node | undefined }} Node
 */

/**
 * Places the nodes of a tree: a level to the right for each exchange, a parent at the middle of its children.
 * @param {TokenTree} tree
 */
function placed(tree) {
  /** @type {Map<string, TreeToken[]>} */
  const children = new Map();
  const known = new Set(tree.tokens.map((token) => token.jti));
  /** @type {TreeToken[]} */
  const roots = [];
  for (const token of tree.tokens) {
    if (token.parent && known.has(token.parent)) children.set(token.parent, [...(children.get(token.parent) ?? []), token]);
    else roots.push(token);
  }
  /** @type {Node[]} */
  const nodes = [];
  let nextY = 0;
  let depth = 0;
  /** @type {(token: TreeToken, level: number, parent: Node | undefined) => Node} */
  const place = (token, level, parent) => {
    /** @type {Node} */
    const node = { token, x: level * (WIDTH + GAP_X), y: 0, parent };
    nodes.push(node);
    depth = Math.max(depth, level);
    const below = (children.get(token.jti) ?? []).map((child) => place(child, level + 1, node));
    const [first, last] = [below[0], below.at(-1)];
    if (first && last) {
      node.y = (first.y + last.y) / 2;
    } else {
      node.y = nextY;
      nextY += HEIGHT + GAP_Y;
    }
    return node;
  };
  for (const root of roots) place(root, 0, undefined);
  return { nodes, width: (depth + 1) * (WIDTH + GAP_X) - GAP_X, height: Math.max(HEIGHT, nextY - GAP_Y) };
}

/**
 * Returns the `sub` of a person without the issuer.
 * @param {TreeToken} token
 */
function subjectOf(token) {
  const [kind, , ...sub] = token.subject.split(":");
  return kind === "user" ? sub.join(":") : "";
}

/** @param {Context & { id: string }} props */
function Tree({ session, notify, id }) {
  const [chosen, setChosen] = useState(/** @type {TreeToken | null} */ (null));
  const [revoked, setRevoked] = useState(/** @type {TreeToken | null} */ (null));
  const { data: tree, failure, reload } = useData(id, async (signal) => {
    /** @type {TokenTree} */
    const tree = await session.request(path("tokens", id, "tree"), { signal });
    return tree;
  });
  const heading = html`<${Heading} title="Delegation tree" back=${["Delegation", to(["tokens"])]} lead=${html`The tree of token <${Id} of=${id} />`} />`;
  if (!tree) return html`${heading}${failure ? html`<${Trouble} failure=${failure} retry=${reload} />` : html`<${Loading} />`}`;
  const canRevoke = session.scopes.has("agents:write");
  const revoke = (/** @type {TreeToken} */ token) => { setChosen(null); setRevoked(token); };
  const count = tree.tokens.filter((token) => token.active).length;
  return html`${heading}
    ${tree.truncated && html`<div class="notice warn"><p>The tree has more than 1,000 tokens. The newest are not shown.</p></div>`}
    <${Section} title="Tree" isFlush actions=${html`<span class="small muted">${count} of ${tree.tokens.length} active</span>
      <button type="button" class="button small" onClick=${reload}>Reload</button>`}>
      ${tree.tokens.length === 0 ? html`<${Empty} title="The tree has no tokens">They have expired and were removed.<//>`
        : html`<${Picture} session=${session} tree=${tree} id=${id} onChoose=${setChosen} />`}
    <//>
    <${Section} title="Tokens of the tree" isFlush>
      <${Table} caption="Tokens of the tree" rows=${tree.tokens} keyOf=${(/** @type {TreeToken} */ token) => token.jti} columns=${[
        { label: "Token", kind: "main", cell: (/** @type {TreeToken} */ token) =>
          html`<button type="button" class="link" onClick=${() => setChosen(token)}><${Id} of=${token.jti} /></button>` },
        { label: "State", cell: (/** @type {TreeToken} */ token) => html`<${Pill} of=${token.active ? "active" : "ended"} />` },
        { label: "Client", cell: (/** @type {TreeToken} */ token) => html`<${AgentName} session=${session} id=${token.agentId} />` },
        { label: "Acts for", cell: (/** @type {TreeToken} */ token) => html`<${Subject} session=${session} token=${token} />` },
        { label: "Expires", cell: (/** @type {TreeToken} */ token) => html`<${Moment} of=${token.expiresAt} isNear />` },
        ...(canRevoke ? [{ label: "Actions", kind: "end", cell: (/** @type {TreeToken} */ token) => token.active &&
          html`<button type="button" class="button small danger-quiet" onClick=${() => revoke(token)}>Revoke</button>` }] : []),
      ]} />
    <//>
    ${chosen && html`<${Details} session=${session} token=${chosen} onClose=${() => setChosen(null)}
      onRevoke=${canRevoke && chosen.active ? () => revoke(chosen) : undefined} />`}
    ${revoked && html`<${Revoke} session=${session} token=${revoked} onClose=${() => setRevoked(null)} onDone=${() => {
      setRevoked(null);
      notify("The token is revoked, with all that were exchanged from it.");
      reload();
    }} />`}`;
}

/** @param {Pick<Context, "session"> & { token: TreeToken }} props */
function Subject({ session, token }) {
  if (isId(token.subject)) return html`<${AgentName} session=${session} id=${token.subject} />`;
  return html`<span>a person: <${Text} of=${subjectOf(token) || token.subject} /></span>`;
}

/** @param {Pick<Context, "session"> & { tree: TokenTree, id: string, onChoose: (token: TreeToken) => void }} props */
function Picture({ session, tree, id, onChoose }) {
  const { nodes, width, height } = placed(tree);
  return html`<div class="picture" tabindex="0" role="region" aria-label="Picture of the tree">
    <svg width=${width + 4} height=${height + 4} viewBox=${`-2 -2 ${width + 4} ${height + 4}`} role="group" aria-label=${`A tree of ${tree.tokens.length} tokens`}>
      ${nodes.map(({ token, x, y, parent }) => parent && html`<path key=${`edge-${token.jti}`} class=${token.active ? "edge" : "edge ended"}
        d=${`M${parent.x + WIDTH} ${parent.y + HEIGHT / 2}C${x - GAP_X / 2} ${parent.y + HEIGHT / 2} ${x - GAP_X / 2} ${y + HEIGHT / 2} ${x} ${y + HEIGHT / 2}`} />`)}
      ${nodes.map((node) => html`<${Box} key=${node.token.jti} session=${session} node=${node} isHere=${node.token.jti === id} onChoose=${onChoose} />`)}
    </svg>
  </div>`;
}

/**
 * Shortens a text to a number of letters. An address loses its domain first.
 * @param {string} text
 * @param {number} length
 */
function fit(text, length) {
  const [local = ""] = text.split("@");
  const letters = [...plain(text.length > length && local ? local : text)];
  return letters.length > length ? `${letters.slice(0, length - 1).join("")}…` : letters.join("");
}

/** @param {Pick<Context, "session"> & { node: Node, isHere: boolean, onChoose: (token: TreeToken) => void }} props */
function Box({ session, node: { token, x, y }, isHere, onChoose }) {
  const name = fit(useName(session, token.agentId) ?? short(token.agentId), 24);
  const person = subjectOf(token);
  const line = fit(person ? `for ${person}` : token.scope || token.jti, 30);
  const state = token.active ? "active" : "ended";
  const choose = () => onChoose(token);
  return html`<g class=${`node ${state}${isHere ? " here" : ""}`} transform=${`translate(${x} ${y})`} tabindex="0" role="button"
    aria-label=${`${name} ${line}, ${state}, token ${short(token.jti)}`} data-jti=${token.jti} onClick=${choose}
    onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose();
    }}>
    <rect width=${WIDTH} height=${HEIGHT} rx="10" />
    <circle cx="16" cy="20" r="4" />
    <svg x="28" width=${WIDTH - 38} height=${HEIGHT}>
      <text y="25" class="node-name">${name}</text>${" "}
      <text y="45" class="node-line">${line}</text>
    </svg>
  </g>`;
}

/** @param {Pick<Context, "session"> & { token: TreeToken, onClose: () => void, onRevoke: (() => void) | undefined }} props */
function Details({ session, token, onClose, onRevoke }) {
  /** @type {[string, View][]} */
  const facts = [
    ["State", html`<${Pill} of=${token.active ? "active" : "ended"} />`],
    ["Token ID", html`<code>${token.jti}</code>`],
    ["Client", html`<${AgentName} session=${session} id=${token.agentId} />`],
    ["Acts for", html`<${Subject} session=${session} token=${token} />`],
    ["Scopes", token.scope ? html`<${Text} of=${token.scope} />` : html`<span class="muted">Not recorded</span>`],
    ["Resource", token.resource ? html`<${Text} of=${token.resource} />` : html`<span class="muted">This service</span>`],
    ["Exchanges before it", String(token.depth)],
    ["Issued", html`<${Moment} of=${token.issuedAt} />`],
    ["Expires", html`<${Moment} of=${token.expiresAt} />`],
  ];
  return html`<${Dialog} title="Token" onClose=${onClose}>
    <${Facts} of=${facts} />
    <div class="form-actions">
      <button type="button" class="button" onClick=${onClose}>Close</button>
      ${onRevoke && html`<button type="button" class="button danger" onClick=${onRevoke}>Revoke</button>`}
    </div>
  <//>`;
}

/** @param {Pick<Context, "session"> & { token: TreeToken, onClose: () => void, onDone: () => void }} props */
function Revoke({ session, token, onClose, onDone }) {
  const { data, failure } = useData(token.agentId, async (signal) => {
    if (!session.scopes.has("agents:read")) return token.agentId;
    const { email } = await session.request(path("agents", token.agentId), { signal });
    return String(email);
  });
  if (failure) return html`<${Dialog} title="Revoke the token" onClose=${onClose}><${Trouble} failure=${failure} /><//>`;
  if (data === undefined) return null;
  const noun = data === token.agentId ? "ID of the agent" : "e-mail address";
  return html`<${Confirm} title="Revoke the token" action="Revoke" word=${data} noun=${noun} onClose=${onClose} onConfirm=${async () => {
    await session.request(path("tokens", token.jti, "revoke"), { method: "POST" });
    onDone();
  }}><p>The token and all that were exchanged from it are revoked for good, on every instance. Other tokens of the agent stay valid.</p><//>`;
}
