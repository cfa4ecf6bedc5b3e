// A webhook receiver with nothing but Node.js.
//
//     CHAINWATCH_WEBHOOK_SECRET=whsec_… node examples/webhooks/consumer.mjs [port]
//
// Checks each message, answers at once, and handles each message once, however often it comes.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const key = Buffer.from(process.env.CHAINWATCH_WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const TOLERANCE_S = 300; // an old message that somebody recorded and sends again is refused
const MAX_BODY = 64 * 1024;

// Is one of the signatures ours, over this id, this time and this body?
function verified(headers, body) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) return false;
  const digest = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64");
  const expected = Buffer.from(`v1,${digest}`);
  // Several signatures: while a secret is being rotated.
  return (headers["webhook-signature"] ?? "").split(" ").some((given) => {
    const bytes = Buffer.from(given);
    return bytes.length === expected.length && timingSafeEqual(bytes, expected);
  });
}

const handled = new Set(); // in your service: a unique column in the database, written with what the message causes

// Do what a message asks for, once: at least once means sometimes twice.
function handle(id, message) {
  if (handled.has(id)) return;
  handled.add(id);
  console.log("handled", id, message.type, JSON.stringify(message.data));
}

async function receive(request, response) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BODY) return request.destroy();
    parts.push(part);
  }
  const body = Buffer.concat(parts); // the bytes as they came: parsed and written again they are others
  const good = request.method === "POST" && verified(request.headers, body);
  if (good) handle(request.headers["webhook-id"], JSON.parse(body));
  response.writeHead(good ? 204 : 401).end();
}

const server = createServer((request, response) => {
  // A request that breaks off is an error here, and one that nobody catches would end the program.
  receive(request, response).catch(() => response.destroy());
});
server.listen(Number(process.argv[2] ?? 8000), "127.0.0.1", () => {
  console.log("listening on", server.address().port);
});
