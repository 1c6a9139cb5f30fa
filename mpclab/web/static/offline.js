// The service worker: after the first load the pages come from here, also without a network.
// ASSETS and VERSION are written by `mpclab.web.assets`.

const OURS = `mpclab ${registration.scope} `; // others of this origin have caches too
const VERSION = `${OURS}@VERSION@`;
const ASSETS = JSON.parse(`@ASSETS@`);

addEventListener("install", (event) => {
  event.waitUntil(caches.open(VERSION).then((cache) => cache.addAll(ASSETS)).then(() => skipWaiting()));
});

addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith(OURS) && name !== VERSION) await caches.delete(name);
    await clients.claim();
  })());
});

addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin) return;
  event.respondWith(caches.open(VERSION).then(async (cache) =>
    await cache.match(request, { ignoreSearch: true }) ?? fetch(request)));
});
