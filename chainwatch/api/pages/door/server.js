// The server: a scan asked, a log drained, manifests fetched.  Answers are typed errors: Offline, or Refused.

const ASK_MS = 2_500; // a guest waits no longer for the network; the door then decides alone
const AGAIN_MS = 700; // and no longer than this while the one before waited in vain
const DRAIN_MS = 20_000;
const CLOCK_MS = 2_000; // what a Date header and a slow network hide

/** How far this device's clock is behind the server's, as the last answer said. */
export const clock = { skewMs: 0, changed: () => {} };

/** The time: a telephone that is wrong by hours must not find the doors closed, or codes old. */
export const now = () => Date.now() + clock.skewMs;

function hear(date, askedMs) {
  const found = Date.parse(date) + 500 - (askedMs + Date.now()) / 2; // to the second, somewhere in between
  if (Number.isNaN(found) || Math.abs(found - clock.skewMs) < CLOCK_MS) return;
  clock.skewMs = Math.abs(found) < CLOCK_MS ? 0 : Math.round(found);
  clock.changed();
}

export class Offline extends Error {}

/** The server answered and said no: `code` is its word. */
export class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function call(key, method, path, body, limitMs) {
  let response;
  const askedMs = Date.now();
  try {
    response = await fetch(path, {
      method,
      headers: { Authorization: `Bearer ${key}`, ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
      cache: "no-store",
      signal: AbortSignal.timeout(limitMs),
    });
    if (response.ok) {
      const said = await response.json();
      hear(response.headers.get("Date"), askedMs);
      return said;
    }
  } catch (error) {
    throw new Offline(error.message);
  }
  // Busy, restarting, or a hotel's login page in the way: the door goes on alone.
  if (response.status >= 500 || response.status === 429) throw new Offline(`the server answered ${response.status}`);
  const problem = await response.json().catch(() => null);
  if (!problem?.code) throw new Offline("something else answered");
  throw new Refused(problem.code, problem.error);
}

export const enrol = (key) => call(key, "GET", "/api/door", null, DRAIN_MS);

export const ask = (key, scan, answers) => call(key, "POST", "/api/checkin", scan, answers ? ASK_MS : AGAIN_MS);

export const drain = (key, event, scans) =>
  call(key, "POST", `/api/events/${encodeURIComponent(event)}/redemptions`, { scans }, DRAIN_MS);

export function manifest(key, event, since) {
  const query = since ? `?since=${encodeURIComponent(since)}` : "";
  return call(key, "GET", `/api/events/${encodeURIComponent(event)}/manifest${query}`, null, DRAIN_MS);
}
