// A certified OpenID provider on a free port of loopback. Each line of standard input is its configuration from
// then on, as JSON; each is answered by a line with the port. What it handed out before stays good.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

import Provider from "oidc-provider";

console.info = console.warn; // Standard output is for answers alone.

const PEOPLE = {
  ada: { name: "Ada Lovelace", email: "ada@corp.example", email_verified: true },
  bob: { name: "Bob", email: "bob@corp.example", email_verified: false },
  eve: { name: "Eve", email: "eve@evil.example", email_verified: true },
  sub: { name: "Sub", email: "sub@sub.corp.example", email_verified: true },
  nil: {},
};

const made = { RS256: [], PS256: [], ES256: [], EdDSA: [] };

function key(algorithm, generation) {
  const kinds = {
    RS256: ["rsa", { modulusLength: 2048 }],
    PS256: ["rsa", { modulusLength: 2048 }],
    ES256: ["ec", { namedCurve: "P-256" }],
    EdDSA: ["ed25519", {}],
  };
  made[algorithm][generation] ??= {
    ...generateKeyPairSync(...kinds[algorithm]).privateKey.export({ format: "jwk" }),
    kid: `${algorithm}-${generation}`,
    use: "sig",
    alg: algorithm,
  };
  return made[algorithm][generation];
}

function provider({ issuer, name, clients, generation, idTokenClaims, challenges }) {
  const made = new Provider(issuer, {
    clients,
    jwks: { keys: ["RS256", "PS256", "ES256", "EdDSA"].map((one) => key(one, generation)) },
    enabledJWA: { idTokenSigningAlgValues: ["RS256", "PS256", "ES256", "EdDSA"] },
    scopes: ["openid", "email", "profile"],
    claims: { openid: ["sub", "sid"], email: ["email", "email_verified"], profile: ["name"] },
    conformIdTokenClaims: !idTokenClaims,
    pkce: { required: () => challenges },
    cookies: {
      keys: ["not a secret"],
      names: { session: `${name}_session`, interaction: `${name}_interaction`, resume: `${name}_resume` },
    },
    features: {
      devInteractions: { enabled: true },
      backchannelLogout: { enabled: true },
    },
    findAccount: (_, id) => PEOPLE[id] && { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) },
    // By itself it calls no loopback, where the tests' application is, and gives up after 2.5 s.
    fetch: (url, { dispatcher, signal, ...options }) => globalThis.fetch(url, options),
    ttl: { AccessToken: 600, AuthorizationCode: 60, IdToken: 600, Grant: 600, Interaction: 600, Session: 600 },
  });
  made.on("server_error", (_, error) => console.error(error));
  made.on("backchannel.error", (_, error) => console.error(error));
  return made;
}

let serve = (_, response) => response.writeHead(503).end();
const server = createServer((request, response) => serve(request, response));
server.listen(0, "127.0.0.1", () => {
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      serve = provider(JSON.parse(line)).callback();
      process.stdout.write(`${server.address().port}\n`);
    })
    .on("close", () => process.exit(0));
});
