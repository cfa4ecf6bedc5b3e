// The ticket's code, new every half minute: a screenshot grows old, the page does not need a network for it.
import { encodeQR } from "/door/qr/index.js";

const WRONG_MS = 60_000; // a clock that is wrong by less makes codes that are good

/** How far this telephone's clock is behind the server's; without a network what was found the last time. */
async function skew() {
  try {
    const answer = await fetch(import.meta.url, { cache: "no-store", signal: AbortSignal.timeout(3_000) });
    const found = Date.parse(answer.headers.get("Date")) - Date.now();
    localStorage.setItem("skew", String(Math.abs(found) > WRONG_MS ? found : 0));
  } catch {
    // no network, or no storage
  }
  try {
    return Number(localStorage.getItem("skew")) || 0;
  } catch {
    return 0;
  }
}

const box = document.getElementById("qr");
if (box && globalThis.crypto?.subtle) {
  document.getElementById("still").hidden = false;
  const { code, seed, step } = box.dataset;
  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const text = (raw) => btoa(String.fromCharCode(...raw)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const key = await crypto.subtle.importKey("raw", bytes(seed), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  let ahead = 0;
  let drawn = "";

  const draw = async () => {
    const now = String(Math.floor((Date.now() + ahead) / Number(step)));
    if (now === drawn) return;
    drawn = now;
    const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(now)));
    const picture = encodeQR(`${code}~${now}.${text(mac.slice(0, 9))}`, "svg", { ecc: "medium", border: 4 });
    const parsed = new DOMParser().parseFromString(picture, "image/svg+xml").documentElement;
    box.replaceChildren(document.importNode(parsed, true));
    box.dataset.shown = now;
  };
  await draw();
  addEventListener("beforeprint", () => box.replaceChildren(document.querySelector("#still svg").cloneNode(true))); // paper does not change
  addEventListener("afterprint", () => { drawn = ""; draw(); });
  ahead = await skew();
  await draw();
  setInterval(draw, 1000);
  navigator.serviceWorker?.register(box.dataset.worker, { scope: "/t/" }).catch(() => {});
}
