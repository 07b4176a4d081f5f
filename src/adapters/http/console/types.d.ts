// Names for the types of the API. A test generates `schema.d.ts` from the OpenAPI document.

import type { components } from "./schema";

type Schemas = components["schemas"];

export type Agent = Schemas["Agent"];
export type AgentPage = Schemas["AgentPage"];
export type AuditEvent = Schemas["AuditEvent"];
export type AuditPage = Schemas["AuditPage"];
export type Credential = Schemas["Credential"];
export type CredentialPage = Schemas["CredentialPage"];
export type Explanation = Schemas["Explanation"];
export type Issuer = Schemas["Issuer"];
export type IssuerPage = Schemas["IssuerPage"];
export type Organization = Schemas["Organization"];
export type OrganizationPage = Schemas["OrganizationPage"];
export type Token = Schemas["Token"];
export type TokenTree = Schemas["TokenTree"];
export type TreeToken = Schemas["TreeToken"];
export type Usage = Schemas["Usage"];

/** A place of the console, as the part of the URL after `#` names it. */
export type Place = { path: string[]; query: URLSearchParams };
/** Errors of the fields of a form, by the name of the field. */
export type FieldErrors = Record<string, string>;
