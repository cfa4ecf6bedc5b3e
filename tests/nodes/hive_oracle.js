// dhive, asked over stdin: {"op": "sign" | "recover", …} a line.
"use strict";
const { createInterface } = require("node:readline");
const { PrivateKey, Signature, cryptoUtils } = require(process.env.CHAINWATCH_MODULES + "/@hiveio/dhive");

const digest = (text) => cryptoUtils.sha256(Buffer.from(text, "utf8"));
const operations = {
  sign: ({ key, text }) => PrivateKey.from(Buffer.from(key, "hex")).sign(digest(text)).toString(),
  public: ({ key }) => PrivateKey.from(Buffer.from(key, "hex")).createPublic().toString(),
  recover: ({ text, signature }) => Signature.fromString(signature).recover(digest(text)).toString(),
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
