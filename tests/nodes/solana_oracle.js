// tweetnacl, asked over stdin: {"op": "sign" | "verify", …} a line; keys and signatures in hex.
"use strict";
const { createInterface } = require("node:readline");
const nacl = require(process.env.CHAINWATCH_MODULES + "/tweetnacl");

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const utf8 = (text) => new TextEncoder().encode(text);
const operations = {
  sign: ({ seed, text }) => {
    const pair = nacl.sign.keyPair.fromSeed(bytes(seed));
    return Buffer.from(nacl.sign.detached(utf8(text), pair.secretKey)).toString("hex");
  },
  verify: ({ key, text, signature }) => nacl.sign.detached.verify(utf8(text), bytes(signature), bytes(key)),
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const request = JSON.parse(line);
  let answer = null;
  try {
    answer = operations[request.op](request);
  } catch {
    answer = null;
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
