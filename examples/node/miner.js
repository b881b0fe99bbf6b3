// A miner in JavaScript: it verifies each epoch, uploads a file for it and reports. Public packages only.
//
// Set ZIPCAST_SERVERS, ZIPCAST_SIGNER, ZIPCAST_NETWORK and ZIPCAST_NETUID as for the SDK, then run:
//
//     npm install && node miner.js HOTKEY_FILE FILE
//
// HOTKEY_FILE is an unencrypted hotkey of btcli, for example ~/.bittensor/wallets/my-wallet/hotkeys/default.
// docs/protocol.md has the rules. Unlike the SDK, the example does not open sealed epochs.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { connect, headers } from "@nats-io/transport-node";
import { bls12_381 } from "@noble/curves/bls12-381.js";
import { Keyring } from "@polkadot/keyring";
import { cryptoWaitReady, signatureVerify } from "@polkadot/util-crypto";

const { ZIPCAST_SERVERS, ZIPCAST_SIGNER, ZIPCAST_NETWORK, ZIPCAST_NETUID } = process.env;
const [hotkeyFile, file] = process.argv.slice(2);
if (!hotkeyFile || !file || !ZIPCAST_SERVERS || !ZIPCAST_SIGNER || !ZIPCAST_NETWORK || !ZIPCAST_NETUID) {
  console.error("usage: node miner.js HOTKEY_FILE FILE; first set ZIPCAST_SERVERS, ZIPCAST_SIGNER, ZIPCAST_NETWORK, ZIPCAST_NETUID");
  process.exit(2);
}
const text = new TextEncoder();
// The public key of drand's quicknet.
const QUICKNET = Buffer.from(
  "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc2" +
    "2b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a",
  "hex",
);

await cryptoWaitReady();
const { secretSeed } = JSON.parse(await readFile(hotkeyFile, "utf8"));
const pair = new Keyring({ type: "sr25519", ss58Format: 42 }).addFromUri(secretSeed);
const sign = (message) => Buffer.from(pair.sign(text.encode(message)));

/** Prove the hotkey to nats-server: sign the nonce of each connection together with the server's name. */
function authenticator(url) {
  const server = new URL(url);
  const audience = server.protocol === "nats:" ? "loopback" : server.hostname;
  return (nonce) => {
    if (!/^[\w-]{8,64}$/.test(nonce)) throw new Error("the server sent no nonce");
    const claim = `zipcast:connect:v1:${ZIPCAST_NETWORK}:${ZIPCAST_NETUID}:${audience}:${pair.address}:${nonce}`;
    return { auth_token: pair.address, sig: sign(claim).toString("base64") };
  };
}

/** Return the epoch of a message. Throw if it was not signed by the trusted signer for this subnet. */
function verified(message) {
  const [signer, signature, id] = ["Signer", "Signature", "Epoch"].map((name) =>
    message.headers.get(`Zipcast-${name}`),
  );
  const type = "application/vnd.zipcast.epoch+json";
  const prefix = `DSSEv1 ${type.length} ${type} ${message.data.length} `;
  const signed = Buffer.concat([text.encode(prefix), message.data]); // exactly the received bytes
  if (!ZIPCAST_SIGNER.split(",").includes(signer)) throw new Error(`signer ${signer} is not trusted`);
  if (!signatureVerify(signed, `0x${signature}`, signer).isValid) throw new Error("the signature is wrong");
  const epoch = message.json();
  const start = epoch.epochId.replace(/T(..)-(..)-(..)$/, "T$1:$2:$3Z");
  if (epoch.network !== ZIPCAST_NETWORK || epoch.netuid !== Number(ZIPCAST_NETUID))
    throw new Error(`epoch ${id} is of another subnet`);
  if (epoch.epochId !== id || Date.parse(start) !== Date.parse(epoch.epochStart))
    throw new Error(`epoch ${id} names another start`);
  if (epoch.beacon) checkBeacon(epoch.beacon);
  return epoch;
}

/** Throw if the signature is not that of the beacon's round. A local network uses those of rounds 1000 to 1002. */
function checkBeacon({ chain, round, signature }) {
  const isLocal = ZIPCAST_NETWORK === "local";
  if (chain !== (isLocal ? "local" : "quicknet")) throw new Error(`the beacon's chain is ${chain}`);
  if (!/^[0-9a-f]{96}$/.test(signature)) throw new Error("the beacon's signature is malformed");
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(isLocal ? 1000 + (round % 3) : round));
  const bls = bls12_381.shortSignatures;
  const digest = createHash("sha256").update(number).digest();
  const message = bls.hash(digest, "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_");
  if (!bls.verify(Buffer.from(signature, "hex"), message, QUICKNET)) throw new Error("the beacon's signature is wrong");
}

/** Send a signed request (btauth/1), and return the reply. Throw for a refusal. */
async function ask(nats, verb, body) {
  const subject = `zipcast.v1.${pair.address}.${verb}`;
  const payload = JSON.stringify(body);
  const digest = createHash("sha256").update(payload).digest("hex");
  const nonce = `${BigInt(Date.now()) * 1_000_000n}`;
  const receiver = ZIPCAST_SIGNER.split(",")[0];
  const lines = ["btauth/1", "sr25519", "NATS", subject, digest, nonce, pair.address, receiver];
  const sent = headers();
  sent.set("X-Bittensor-Version", "1");
  sent.set("X-Bittensor-Hotkey", pair.address);
  sent.set("X-Bittensor-Receiver", receiver);
  sent.set("X-Bittensor-Nonce", nonce);
  sent.set("X-Bittensor-Signature", sign(lines.join("\n")).toString("hex"));
  const reply = await nats.request(subject, payload, { headers: sent, timeout: 10_000 });
  if (reply.headers?.has("Zipcast-Error")) throw new Error(reply.json().message);
  return reply;
}

function post(form, content) {
  const body = new FormData();
  for (const [name, value] of Object.entries(form.fields)) body.append(name, value);
  body.append("file", new Blob([content]), basename(file));
  return { method: "POST", body };
}

function put(form, content) {
  return { method: "PUT", headers: form.fields, body: content };
}

/** Upload the file with the epoch's form, and report. */
async function workOn(nats, epoch) {
  const content = await readFile(file);
  const named = { name: basename(file), sizeBytes: content.length }; // for stores that take no forms
  const form = (await ask(nats, "s3.miner-upload", { epochId: epoch.epochId, file: named })).json();
  if (content.length < form.minBytes || content.length > form.maxBytes)
    throw new Error("the file's size is not allowed");
  const stored = await fetch(form.url, form.method === "PUT" ? put(form, content) : post(form, content));
  if (!stored.ok) throw new Error(`the store replied ${stored.status}: ${await stored.text()}`);
  await ask(nats, "miner.status", {
    epochId: epoch.epochId,
    nonce: epoch.nonce,
    status: "COMPLETED",
    s3UploadComplete: true,
  });
  console.log(`${epoch.epochId}: uploaded ${form.prefix}${basename(file)} and reported`);
}

const url = ZIPCAST_SERVERS.split(",")[0];
const nats = await connect({
  servers: new URL(url).host,
  authenticator: authenticator(url),
  tls: url.startsWith("tls:") ? {} : undefined,
  inboxPrefix: `_INBOX.${pair.address}`,
  ignoreClusterUpdates: true, // other servers have other names to sign
  maxReconnectAttempts: -1,
});
const epochs = nats.subscribe("zipcast.v1.epoch");

let newest = "";
async function receive(message) {
  try {
    const epoch = verified(await message);
    if (epoch.epochId <= newest) return; // received already; ids sort by time
    if (newest && epoch.previousEpochId !== newest) console.error(`missed epochs after ${newest}`);
    newest = epoch.epochId;
    await workOn(nats, epoch);
  } catch (error) {
    console.error(`${newest}: ${error.message}`);
  }
}

await receive(ask(nats, "epoch.current", {}));
for await (const message of epochs) await receive(message);

const reason = await nats.closed(); // for example, the hotkey has left the subnet
if (reason) {
  console.error(reason.message);
  process.exitCode = 1;
}
