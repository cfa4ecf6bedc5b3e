// What a door decides alone: codes read and proved, the manifest checked and kept.  No page, no storage, no network.
// The texts are those of chainwatch/tickets/codes.py and manifest.py; their tests hold the two against each other.

const UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const CODE = new RegExp(
  `^(ticket:(${UUID}):(?:v1:([A-Za-z0-9_-]{22})` +
    "|v2:([A-Za-z0-9_-]{1,64})\\.([1-9][0-9]{0,17})\\.([A-Za-z0-9_-]{22})\\.([A-Za-z0-9_-]{86})))" +
    "(?:~([1-9][0-9]{0,15})\\.([A-Za-z0-9_-]{12}))?$",
);
const STEP_MS = 30_000;
const STEPS_OFF = 10; // five minutes: as far as telephones' clocks go wrong
const DAY_MS = 86_400_000;
const HASH_BYTES = 16;

export const utf8 = (text) => new TextEncoder().encode(text);

export function bytes(base64url) {
  const raw = atob(base64url.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

export function base64url(data) {
  let raw = "";
  for (const byte of data) raw += String.fromCharCode(byte);
  return btoa(raw).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** Read a scanned text; null when it is no ticket's code. */
export function read(text) {
  const found = text.length <= 300 ? CODE.exec(text.trim()) : null;
  if (!found) return null;
  const [, fixed, uuid, first, event, number, second, signature, step] = found;
  const checksum = first ?? second;
  return {
    fixed,
    plain: `ticket:${uuid}:v1:${checksum}`,
    event: event ?? null,
    number: number ? Number(number) : null,
    signature: signature ?? null,
    step: step ? Number(step) : null,
  };
}

const sha256 = async (data) => new Uint8Array(await crypto.subtle.digest("SHA-256", data));

/** True or false; null when this browser knows no Ed25519. */
export async function signedBy(key, signature, data) {
  let imported;
  try {
    imported = await crypto.subtle.importKey("raw", bytes(key), { name: "Ed25519" }, false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") return null;
    return false;
  }
  return crypto.subtle.verify({ name: "Ed25519" }, imported, bytes(signature), data);
}

const v2Signed = (code, key) =>
  signedBy(key, code.signature, utf8(`chainwatch qr v2\n${code.fixed.slice(0, code.fixed.lastIndexOf("."))}`));

/** Check a manifest as it was sent.  Returns {said, checked}; throws with the reason.  checked: false without Ed25519. */
export async function openManifest(sent, pin, event, nowMs) {
  const [head, claims, signature] = sent.signature.split(".");
  const header = JSON.parse(new TextDecoder().decode(bytes(head)));
  if (header.typ !== "manifest+jwt" || header.alg !== "EdDSA") throw new Error("the list is signed as something else");
  const good = await signedBy(pin, signature, utf8(`${head}.${claims}`));
  if (good === false) throw new Error("the list is not signed by the server that this device was set up with");
  const stated = JSON.parse(new TextDecoder().decode(bytes(claims)));
  if (stated.aud !== `door:${event}`) throw new Error("the list is of another event");
  if (stated.sha256 !== base64url(await sha256(utf8(sent.manifest)))) throw new Error("the list was changed on its way");
  if (nowMs / 1000 >= stated.exp) throw new Error("the list is older than a week");
  return { said: JSON.parse(sent.manifest), checked: good === true, issuedMs: stated.iat * 1000 };
}

/** What a device knows of its event: manifests put together, and who went in here. */
export class Knowledge {
  constructor() {
    this.said = null;
    this.byHash = new Map();
    this.revoked = new Set();
    this.inside = new Map();
  }

  /** Take a checked manifest: the whole, or a difference. */
  take(said) {
    if (said.since === null) {
      this.byHash.clear();
      this.inside.clear();
    }
    const hashes = bytes(said.hashes);
    said.numbers.forEach((number, i) => {
      this.byHash.set(base64url(hashes.subarray(HASH_BYTES * i, HASH_BYTES * (i + 1))), number);
    });
    this.revoked = new Set(said.revoked);
    for (const [number, at, gate] of said.entries) this.went(number, at, said.gates[gate]);
    this.said = { ...said, numbers: [], hashes: "", entries: [] };
  }

  /** Note that somebody went in. */
  went(number, at, gate) {
    const known = this.inside.get(number) ?? [];
    if (!known.some((e) => e.at === at && e.gate === gate)) known.push({ at, gate });
    this.inside.set(number, known);
  }

  /** Decide a scan without a network: {state, number, first}. */
  async decide(text, at) {
    const said = this.said;
    const code = read(text);
    if (!code) return { state: "unknown" };
    if (!said) return { state: "no_list" };
    if (code.event !== null && code.event !== said.event) return { state: "wrong_event" };
    const proof = code.signature ? await v2Signed(code, said.qr_key) : null;
    if (proof === false) return { state: "bad_checksum" };
    const listed = await this.#listed(code, said);
    const number = listed ?? (proof ? code.number : null);
    if (number === null) return { state: "not_listed" };
    if (code.signature && number !== code.number) return { state: "bad_checksum" };
    const refusal = this.#refusal(code, number, at);
    return refusal ? { number, ...refusal } : { state: "accepted", number };
  }

  async #listed(code, said) {
    const plain = utf8(code.plain);
    const salt = bytes(said.salt);
    const joined = new Uint8Array(salt.length + plain.length);
    joined.set(salt);
    joined.set(plain, salt.length);
    const digest = await sha256(joined);
    return this.byHash.get(base64url(digest.subarray(0, HASH_BYTES))) ?? null;
  }

  #refusal(code, number, at) {
    const said = this.said;
    if (this.revoked.has(number)) return { state: "revoked" };
    if (said.cancelled) return { state: "cancelled" };
    if (said.door === "wallet") return { state: "door_wallet_only" };
    if (said.closes_ms !== null && at >= said.closes_ms) return { state: "over" };
    if (said.opens_ms !== null && at < said.opens_ms) return { state: "not_yet" };
    if (code.step !== null && Math.abs(code.step - Math.floor(at / STEP_MS)) > STEPS_OFF) return { state: "old_code" };
    if (said.policy === "reentry") return null;
    const day = (ms) => Math.floor(ms / DAY_MS);
    const before = (this.inside.get(number) ?? []).filter((e) => said.policy === "once" || day(e.at) === day(at));
    if (!before.length) return null;
    return { state: "already_redeemed", first: before.reduce((a, b) => (b.at < a.at ? b : a)) };
  }
}
