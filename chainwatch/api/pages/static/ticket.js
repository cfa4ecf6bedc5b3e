// The ticket's code, new every half minute: a screenshot grows old, the page does not need a network for it.
import { encodeQR } from "/door/qr/index.js";

const box = document.getElementById("qr");
if (box && globalThis.crypto?.subtle) {
  const { code, seed, step } = box.dataset;
  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const text = (raw) => btoa(String.fromCharCode(...raw)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const key = await crypto.subtle.importKey("raw", bytes(seed), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  let drawn = "";

  const draw = async () => {
    const now = String(Math.floor(Date.now() / Number(step)));
    if (now === drawn) return;
    drawn = now;
    const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(now)));
    const picture = encodeQR(`${code}~${now}.${text(mac.slice(0, 9))}`, "svg", { ecc: "medium", border: 4 });
    const parsed = new DOMParser().parseFromString(picture, "image/svg+xml").documentElement;
    box.replaceChildren(document.importNode(parsed, true));
  };
  await draw();
  setInterval(draw, 1000);
}
