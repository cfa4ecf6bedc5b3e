// The server: a scan asked, a log drained, manifests fetched.  Answers are typed errors: Offline, or Refused.

const ASK_MS = 2_500; // a guest waits no longer for the network; the door then decides alone
const DRAIN_MS = 20_000;

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
  try {
    response = await fetch(path, {
      method,
      headers: { Authorization: `Bearer ${key}`, ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
      cache: "no-store",
      signal: AbortSignal.timeout(limitMs),
    });
    if (response.ok) return await response.json();
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

export const ask = (key, scan) => call(key, "POST", "/api/checkin", scan, ASK_MS);

export const drain = (key, event, scans) =>
  call(key, "POST", `/api/events/${encodeURIComponent(event)}/redemptions`, { scans }, DRAIN_MS);

export function manifest(key, event, since) {
  const query = since ? `?since=${encodeURIComponent(since)}` : "";
  return call(key, "GET", `/api/events/${encodeURIComponent(event)}/manifest${query}`, null, DRAIN_MS);
}
