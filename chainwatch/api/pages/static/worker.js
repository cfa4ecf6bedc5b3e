// Tickets without a network: telephones throw pages away, and a hall has no signal.  The network comes first.
"use strict";

const CACHE = "tickets-1";
const MOST = 20; // tickets that are kept
const WAIT_MS = 4_000; // on a network that does not answer

const isTicket = (url) => url.pathname.startsWith("/t/");
const isPart = (url) => url.pathname.startsWith("/static/") || url.pathname.startsWith("/door/qr/");

self.addEventListener("install", (event) => event.waitUntil(self.skipWaiting()));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim().then(keepOpenPages)));

/** The page that brought this worker came before it: fetch it again, with its parts. */
async function keepOpenPages() {
  for (const client of await self.clients.matchAll({ includeUncontrolled: true })) {
    if (!isTicket(new URL(client.url))) continue;
    const answer = await keep(new Request(client.url));
    const html = await answer.text();
    for (const [, path] of html.matchAll(/(?:src|href)="(\/static\/[^"]+)"/g)) await keep(new Request(path));
  }
  for (const path of ["/door/qr/index.js"]) await keep(new Request(path));
}

async function keep(request) {
  const answer = await fetch(request, { signal: AbortSignal.timeout(WAIT_MS) });
  const cache = await caches.open(CACHE);
  if (answer.ok) await cache.put(request, answer.clone());
  else if (answer.status === 404) await cache.delete(request);
  const tickets = (await cache.keys()).filter((r) => isTicket(new URL(r.url)));
  for (const old of tickets.slice(0, Math.max(0, tickets.length - MOST))) await cache.delete(old);
  return answer;
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || request.cache === "no-store" || url.origin !== self.location.origin) return;
  if (!isTicket(url) && !isPart(url)) return;
  event.respondWith(
    keep(request).catch(async (error) => {
      const kept = await caches.match(request.url);
      if (!kept) throw error;
      return kept;
    }),
  );
});
