// Judges with jose: reads one request per line (JSON) and answers each with one line. See panel/line_judge.py.
//
//   node judge.mjs DIRECTORY    the directory under which node_modules/jose is
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";
import path from "node:path";

globalThis.crypto ??= webcrypto; // Node 18 has it under a flag only
globalThis.CryptoKey ??= webcrypto.CryptoKey;
const require = createRequire(path.resolve(process.argv[2], "x.js"));
const jose = await import(pathToFileURL(require.resolve("jose")));

const KINDS = {
  "RSA-2048": ["RS256", { modulusLength: 2048 }],
  "RSA-3072": ["RS256", { modulusLength: 3072 }],
  "RSA-4096": ["RS256", { modulusLength: 4096 }],
  "P-256": ["ES256", {}],
  "P-384": ["ES384", {}],
  "P-521": ["ES512", {}],
  secp256k1: ["ES256K", {}],
  Ed25519: ["Ed25519", {}],
  X25519: ["ECDH-ES", { crv: "X25519" }],
};

const clients = new Map();

// The library's own client of a JWK Set's URL, with what it has fetched.
async function client(url) {
  if (!clients.has(url)) {
    const made = jose.createRemoteJWKSet(new URL(url), { cooldownDuration: 0 });
    await made.reload();
    clients.set(url, made);
  }
  return clients.get(url);
}

async function served(url, kid) {
  const found = (await client(url)).jwks().keys.filter((key) => key.kid === kid);
  if (found.length !== 1) throw new Error(`the served set has ${found.length} keys with the kid ${kid}`);
  return found[0];
}

const imported = new Map();

// importJWK ties the key to one algorithm, and refuses members that contradict that.
async function key(jwk, alg) {
  const name = alg + JSON.stringify(jwk);
  if (!imported.has(name)) imported.set(name, await jose.importJWK(jwk, alg));
  return imported.get(name);
}

const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (string) => new TextEncoder().encode(string);

// An agreement needs deriveBits, whatever the key says that it is for.
const operations = {
  async make({ kind }) {
    const [alg, options] = KINDS[kind];
    const pair = await jose.generateKeyPair(alg, { ...options, extractable: true });
    return { jwk: await jose.exportJWK(pair.privateKey) };
  },
  async thumbprints({ url }) {
    const result = {};
    for (const jwk of (await client(url)).jwks().keys) {
      try {
        result[jwk.kid] = await jose.calculateJwkThumbprint(jwk, "sha256");
      } catch (error) {
        result[jwk.kid] = `error: ${error.message}`;
      }
    }
    return { thumbprints: result };
  },
  async sign({ jwk, alg, payload }) {
    const header = { alg, ...(jwk.kid === undefined ? {} : { kid: jwk.kid }) };
    return { token: await new jose.CompactSign(bytes(payload)).setProtectedHeader(header).sign(await key(jwk, alg)) };
  },
  async verify({ url, jwk, alg, token }) {
    const source = url ? await client(url) : await key(jwk, alg);
    const { payload } = await jose.compactVerify(token, source, { algorithms: [alg] });
    return { payload: text(payload) };
  },
  async encrypt({ url, jwk, kid, alg, enc, payload }) {
    const recipient = url ? await served(url, kid) : jwk;
    const header = { alg, enc, ...(recipient.kid === undefined ? {} : { kid: recipient.kid }) };
    return { token: await new jose.CompactEncrypt(bytes(payload)).setProtectedHeader(header).encrypt(await key(recipient, alg)) };
  },
  async decrypt({ jwk, alg, enc, token }) {
    const { plaintext } = await jose.compactDecrypt(token, await key(jwk, alg), {
      keyManagementAlgorithms: [alg],
      contentEncryptionAlgorithms: [enc],
      maxPBES2Count: 100000,
    });
    return { payload: text(plaintext) };
  },
  async seal({ recipients, alg, enc, payload, aad }) {
    const jwe = new jose.GeneralEncrypt(bytes(payload)).setProtectedHeader({ enc }).setAdditionalAuthenticatedData(bytes(aad));
    for (const jwk of recipients) jwe.addRecipient(await key(jwk, alg)).setUnprotectedHeader({ alg, kid: jwk.kid });
    return { jwe: JSON.stringify(await jwe.encrypt()) };
  },
  // Without a kid to pick by, it tries the recipients one after the other.
  async open({ jwk, alg, enc, jwe, aad }) {
    const { plaintext, additionalAuthenticatedData } = await jose.generalDecrypt(JSON.parse(jwe), await key(jwk, alg), {
      keyManagementAlgorithms: [alg],
      contentEncryptionAlgorithms: [enc],
    });
    if (text(additionalAuthenticatedData) !== aad) throw new Error("it is bound to another aad");
    return { payload: text(plaintext) };
  },
  async attach({ jwk, alg, token, payload }) {
    const [protectedHeader, nothing, signature] = token.split(".");
    if (nothing !== "") throw new Error("the payload is not detached");
    const verified = await jose.flattenedVerify({ protected: protectedHeader, payload, signature }, await key(jwk, alg), { algorithms: [alg] });
    return { payload: jose.base64url.encode(verified.payload) };
  },
  async detach({ jwk, alg, payload }) {
    const made = await new jose.FlattenedSign(jose.base64url.decode(payload)).setProtectedHeader({ alg, kid: jwk.kid }).sign(await key(jwk, alg));
    return { token: `${made.protected}..${made.signature}` };
  },
  async import({ text: json, alg }) {
    try {
      await jose.importJWK(JSON.parse(json), alg);
      return { accepted: true };
    } catch (error) {
      return { accepted: false, reason: `${error.name}: ${error.message}` };
    }
  },
};

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = await operations[request.op](request);
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
