// ethers, asked over stdin: {"op": "sign" | "recover" | "digest", …} a line.
"use strict";
const { createInterface } = require("node:readline");
const { ethers } = require(process.env.CHAINWATCH_MODULES + "/ethers");

const operations = {
  sign: ({ key, text }) => new ethers.Wallet(key).signMessageSync(text),
  recover: ({ text, signature }) => ethers.verifyMessage(text, signature),
  typed: ({ key, domain, types, message }) => {
    const wallet = new ethers.Wallet(key);
    const digest = ethers.TypedDataEncoder.hash(domain, types, message);
    return { digest, signature: wallet.signingKey.sign(digest).serialized };
  },
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
