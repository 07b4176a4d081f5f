// @ts-check
// The organization that something new belongs to.

/** @import { FieldErrors, OrganizationPage } from "../types" */
/** @import { Context } from "../ui.js" */

import { html } from "../html.js";
import { Input, Select, Trouble, useData } from "../ui.js";

/** The most organizations that are offered. */
const OFFERED = 100;

/**
 * A field for the organization, for administrators of all organizations. Others have no choice.
 * @param {Pick<Context, "session"> & { errors: FieldErrors }} props
 */
export function OrganizationField({ session, errors }) {
  const isAdmin = session.scopes.has("admin:orgs");
  const { data, failure, reload } = useData(String(isAdmin), async (signal) => {
    /** @type {OrganizationPage | null} */
    const page = isAdmin ? await session.request("organizations", { query: { limit: OFFERED }, signal }) : null;
    return page;
  });
  if (!isAdmin) return null;
  if (failure || (data && data.total > OFFERED)) {
    return html`<${Trouble} failure=${failure} retry=${reload} />
      <${Input} name="organizationId" label="Organization" errors=${errors} hint="Its ID; if empty, your organization" />`;
  }
  const choices = (data?.data ?? []).map((one) => [one.organizationId, one.name]);
  return html`<${Select} name="organizationId" label="Organization" errors=${errors} options=${[["", "Yours"], ...choices]} />`;
}
