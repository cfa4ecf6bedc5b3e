// @cardano-foundation/cardano-verify-datasignature, asked over stdin: {"signature", "key", "text", "address"} a line.
"use strict";
const { createInterface } = require("node:readline");
const name = "/@cardano-foundation/cardano-verify-datasignature";
const verifyDataSignature = require(process.env.CHAINWATCH_MODULES + name);

createInterface({ input: process.stdin }).on("line", (line) => {
  const { signature, key, text, address } = JSON.parse(line);
  let answer = false;
  try {
    answer = verifyDataSignature(signature, key, text, address);
  } catch {
    answer = false; // it throws for what does not parse
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
