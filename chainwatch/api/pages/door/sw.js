// The page itself without a network: its files are kept, and the API is never answered from a cache.
const VERSION = "__VERSION__"; // the server writes the hash of all files here
const FILES = __FILES__;

self.addEventListener("install", (event) => {
  const fresh = FILES.map((path) => new Request(path, { cache: "reload" }));
  event.waitUntil(caches.open(VERSION).then((cache) => cache.addAll(fresh)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const old = (names) => Promise.all(names.filter((n) => n !== VERSION).map((n) => caches.delete(n)));
  event.waitUntil(caches.keys().then(old).then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const ours = event.request.method === "GET" && url.origin === self.location.origin && FILES.includes(url.pathname);
  if (!ours) return; // the API goes to the network, or fails
  event.respondWith(
    caches.open(VERSION).then(async (cache) => (await cache.match(url.pathname)) ?? fetch(event.request)),
  );
});
