// The door page: set up once, then scan after scan, with a network or without one.

import * as keep from "/door/keep.js";
import { Scanner } from "/door/scanner.js";
import * as server from "/door/server.js";
import { Show } from "/door/show.js";
import { Knowledge, base64url, openManifest } from "/door/verdict.js";

const SYNC_MS = 15_000;
const BATCH = 25; // scans of 300 characters that JSON writes in six each: 50 kB, and the server takes 64
const DIFFERENCES = 50; // then the whole list is fetched again
const AGAIN_MS = 3_000; // the same code held before the camera is one scan

const show = new Show();
let me = null; // {key, pin, event, title, device}
let gate = "";
let knowledge = new Knowledge();
let online = false;
let silent = false; // the last question had no answer in time
let checked = false;
let listMs = 0;
let last = { text: "", at: 0 };
let busy = false;
let syncing = null;

// -- set-up ------------------------------------------------------------------------------------------

/** Read what was opened, pasted or scanned: a link whose fragment holds the key, or the bare key. */
function keyIn(text) {
  const fragment = text.includes("#") ? text.slice(text.indexOf("#") + 1) : `key=${text.trim()}`;
  const found = new URLSearchParams(fragment);
  const key = found.get("key") ?? "";
  return /^cwd_[A-Za-z0-9_-]{20,90}$/.test(key) ? { key, pin: found.get("pin") } : null;
}

async function enrol(text) {
  const given = keyIn(text);
  if (!given) return show.problem("This is no device's link or key.");
  try {
    const said = await server.enrol(given.key);
    if (given.pin && given.pin !== said.manifest_key) {
      return show.problem("This is not the server that the link was made for.");
    }
    if (me && me.event === said.event) {
      await keep.clear("manifests"); // a new key for the same door: its scans are sent with it
    } else if (me && (await waiting()).length) {
      return show.problem("Scans of another event wait to be sent. Send them and forget that event first.");
    } else {
      await keep.forget();
    }
    me = { key: given.key, pin: said.manifest_key, event: said.event, title: said.title, device: said.device };
    await keep.put("state", "me", me);
    gate = said.device;
    await keep.put("state", "gate", gate);
    await keep.put("state", "skew", server.clock.skewMs);
    knowledge = new Knowledge();
    listMs = 0;
    navigator.storage?.persist?.();
    return await enter();
  } catch (error) {
    if (error instanceof server.Refused) return show.problem("This key is not valid, or it was revoked.");
    return show.problem("The server does not answer. Setting up needs the network once.");
  }
}

async function enter() {
  show.door(me, gate);
  await refresh();
  sync();
}

async function start() {
  navigator.serviceWorker?.register("/door/sw.js", { scope: "/door" }).catch(() => {});
  const fragment = location.hash.slice(1);
  if (fragment) history.replaceState(null, "", location.pathname); // a key must not stay in the address
  me = (await keep.get("state", "me")) ?? null;
  gate = (await keep.get("state", "gate")) ?? "";
  server.clock.skewMs = (await keep.get("state", "skew")) ?? 0;
  server.clock.changed = () => keep.put("state", "skew", server.clock.skewMs);
  if (me) {
    await recall();
    await enter();
  } else {
    show.enrol();
  }
  const given = fragment ? keyIn(`#${fragment}`) : null;
  if (given && given.key !== me?.key) await enrol(`#${fragment}`);
  document.body.dataset.ready = "yes";
}

/** Take the lists and scans that were kept. */
async function recall() {
  try {
    for (const sent of await keep.all("manifests")) await take(sent);
  } catch (error) {
    show.alarm(`The list on this device cannot be used: ${error.message}.`);
    knowledge = new Knowledge();
    await keep.clear("manifests");
  }
  for (const item of await keep.all("queue")) {
    if (item.scan.admitted && item.number) knowledge.went(item.number, item.scan.at, item.scan.gate);
  }
}

async function take(sent) {
  const opened = await openManifest(sent, me.pin, me.event, server.now());
  knowledge.take(opened.said);
  checked = opened.checked;
  listMs = opened.issuedMs;
}

// -- a scan --------------------------------------------------------------------------------------------

async function scan(text) {
  if (busy || !me) return;
  busy = true;
  try {
    const typed = text.trim();
    if (!typed || keyIn(`#${typed.split("#")[1] ?? ""}`)) return; // nothing, or the link that set this device up
    const at = server.now();
    const nonce = base64url(crypto.getRandomValues(new Uint8Array(16)));
    const isCode = typed.startsWith("ticket:") || typed.length > 100;
    const what = isCode ? { code: whole(typed.slice(0, 300)) } : { order_id: whole(typed) };
    const item = { nonce, ...what, at, gate };
    const verdict = await decide(item);
    last = { text, at: Date.now() };
    show.result(verdict);
    refresh();
  } finally {
    busy = false;
  }
}

/** Without half a character, which the server could not read: one such scan would hold up the whole log. */
const whole = (text) => new TextDecoder().decode(new TextEncoder().encode(text));

/** Ask the server; without an answer in time, decide alone and keep the scan for later. */
async function decide(item) {
  const alone = item.code ? knowledge.decide(item.code, item.at) : Promise.resolve({ state: "needs_network" });
  try {
    const answer = await server.ask(me.key, item, !silent);
    online = true;
    silent = false;
    if (answer.accepted) await remember(item, answer.ticket_number, true);
    const first = answer.first_entry && { at: Date.parse(answer.first_entry.at), gate: answer.first_entry.gate };
    return { state: answer.state, number: answer.ticket_number, first, at: item.at, offline: false, opens: opens() };
  } catch (error) {
    if (error instanceof server.Refused) {
      if (error.code === "unauthorized") show.alarm("This device was revoked. Ask the organiser for another key.");
      return { state: error.code === "unauthorized" ? "device_revoked" : "not_understood", at: item.at, offline: false };
    }
    online = false;
    silent = true;
  }
  const verdict = await alone;
  const admitted = verdict.state === "accepted";
  if (admitted) knowledge.went(verdict.number, item.at, item.gate);
  await remember({ ...item, admitted, reason: admitted ? "" : verdict.state }, verdict.number ?? null, false);
  return { ...verdict, at: item.at, offline: true, opens: opens() };
}

const opens = () => knowledge.said?.opens_ms ?? null;

/** Keep a scan until the list that comes back holds it. */
async function remember(scanned, number, sent) {
  if (sent) knowledge.went(number, scanned.at, scanned.gate);
  await keep.put("queue", scanned.nonce, { scan: { admitted: true, reason: "", ...scanned }, number, sent });
}

const waiting = async () => (await keep.all("queue")).filter((item) => !item.sent);

// -- the network -----------------------------------------------------------------------------------------

function sync() {
  syncing ??= exchange().finally(() => {
    syncing = null;
    refresh();
  });
  return syncing;
}

/** Send what waits, fetch what changed; only then is what was sent forgotten. */
async function exchange() {
  if (!me) return;
  try {
    const held = await keep.all("queue");
    const open = held.filter((item) => !item.sent);
    for (let i = 0; i < open.length; i += BATCH) {
      const part = open.slice(i, i + BATCH);
      const answer = await server.drain(me.key, me.event, part.map((item) => item.scan));
      for (const result of answer.results) await noteConflict(result, part);
      for (const item of part) await keep.put("queue", item.scan.nonce, { ...item, sent: true });
    }
    await fetchList();
    for (const item of held) await keep.drop("queue", item.scan.nonce);
    online = true;
    silent = false;
    show.alarm("");
  } catch (error) {
    online = false;
    if (error instanceof server.Refused && error.code === "unauthorized") {
      show.alarm("This device was revoked. Ask the organiser for another key.");
    } else if (!(error instanceof server.Offline)) {
      show.alarm(`The server's answer cannot be used: ${error.message}.`);
    }
  }
}

async function fetchList() {
  const kept = await keep.all("manifests");
  const since = kept.length && kept.length < DIFFERENCES ? knowledge.said?.cursor : null;
  const sent = await server.manifest(me.key, me.event, since);
  await take(sent);
  if (knowledge.said.since === null) {
    await keep.clear("manifests");
    await keep.put("manifests", 0, sent);
  } else {
    await keep.put("manifests", kept.length, sent);
  }
}

async function noteConflict(result, part) {
  if (!result.conflict) return;
  const scanned = part.find((item) => item.scan.nonce === result.nonce);
  const own = { at: result.at, gate: result.gate, device: me.device, state: result.state };
  await keep.put("conflicts", result.nonce, {
    number: result.ticket_number ?? scanned?.number ?? null,
    state: result.state,
    passages: result.conflict.length ? result.conflict : [own],
  });
  show.warn();
}

async function refresh() {
  if (!me) return;
  const open = (await waiting()).length;
  show.status({ online, open, checked, listMs, known: knowledge.byHash.size, skewMs: server.clock.skewMs });
  show.conflicts(await keep.all("conflicts"));
}

// -- the page --------------------------------------------------------------------------------------------

const scanner = new Scanner(document.getElementById("video"), async (text) => {
  if (show.covered || (text === last.text && Date.now() - last.at < AGAIN_MS)) return;
  document.activeElement?.blur(); // no keyboard over the camera
  if (me) await scan(text);
  else await enrol(text);
});

async function camera() {
  try {
    await scanner.start();
    show.camera(true, scanner.hasTorch);
    await navigator.wakeLock?.request("screen").catch(() => {});
  } catch (error) {
    show.camera(false, false, `No camera: ${error.message}. Codes can be typed in.`);
  }
}

show.on({
  enrol,
  scan,
  camera,
  torch: (on) => scanner.torch(on),
  sync: async () => {
    await sync();
  },
  dismissed: () => {
    last.at = Date.now();
  },
  gate: async (name) => {
    gate = whole(name.replace(/[\x00-\x1f\x7f]/g, "").slice(0, 40));
    await keep.put("state", "gate", gate);
    show.door(me, gate);
  },
  forget: async () => {
    await sync();
    if ((await waiting()).length) return show.alarm("Scans are not sent yet: the event stays until they are.");
    scanner.stop();
    show.camera(false, false);
    await keep.forget();
    me = null;
    knowledge = new Knowledge();
    show.enrol();
    return undefined;
  },
});

setInterval(sync, SYNC_MS);
addEventListener("online", sync);
addEventListener("offline", () => {
  online = false;
  refresh();
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && scanner.running) {
    navigator.wakeLock?.request("screen").catch(() => {});
  }
});

start();
