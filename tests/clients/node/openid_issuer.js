// node-oidc-provider as a trusted issuer: runs the steps of docs/federation/openid.md with a token of each algorithm.

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { promisify } from "node:util";
import Provider from "oidc-provider";

const { ISSUER, ADMIN_ID, ADMIN_SECRET, STEPS } = process.env;
const CLIENT_SECRET = "of-the-client";

const key = (type, options) => generateKeyPairSync(type, options).privateKey.export({ format: "jwk" });
const keys = [
    { ...key("rsa", { modulusLength: 2048 }), kid: "rsa", use: "sig" },
    { ...key("ec", { namedCurve: "P-256" }), kid: "p-256", use: "sig" },
    { ...key("ec", { namedCurve: "P-521" }), kid: "unusable", use: "sig" },
    { ...key("ed25519"), kid: "ed25519", use: "sig" },
];

for (const alg of ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"]) {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const issuer = `http://127.0.0.1:${server.address().port}`;
    const provider = new Provider(issuer, {
        jwks: { keys },
        clients: [{
            client_id: "summarizer",
            client_secret: CLIENT_SECRET,
            grant_types: ["client_credentials"],
            redirect_uris: [],
            response_types: [],
        }],
        features: {
            devInteractions: { enabled: false },
            clientCredentials: { enabled: true },
            resourceIndicators: {
                enabled: true,
                getResourceServerInfo: (_context, resource) => {
                    strictEqual(resource, ISSUER);
                    return { scope: "", accessTokenFormat: "jwt", jwt: { sign: { alg } } };
                },
            },
        },
    });
    provider.on("server_error", (_context, error) => console.error(error));
    server.on("request", provider.callback());

    const steps = STEPS.replaceAll("https://login.example.com", issuer);
    const PATH = `/usr/bin:${process.env.PATH}`;
    const env = { ...process.env, PATH, CLIENT: ADMIN_ID, SECRET: ADMIN_SECRET, CLIENT_SECRET };
    const { stdout } = await promisify(execFile)("bash", ["-eu", "-c", steps], { env });
    const [, keysStatus, explanation, assertion, introspection] = stdout.split("----");
    ok(keysStatus.includes("'state': 'ok'"), stdout);
    strictEqual(JSON.parse(explanation).verdict, "accepted", stdout);
    const header = JSON.parse(Buffer.from(assertion.trim().split(".")[0], "base64url"));
    deepStrictEqual([header.alg, header.typ], [alg, "at+jwt"]);
    strictEqual(JSON.parse(introspection).active, true, stdout);
    server.closeAllConnections();
    server.close();
}
