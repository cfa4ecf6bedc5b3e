// bip322-js and bitcoinjs-message, asked over stdin: {"op": "bip322" | "legacy" | "sign322" | "sign", …} a line.
"use strict";
const { createInterface } = require("node:readline");
const modules = process.env.CHAINWATCH_MODULES;
const { Signer, Verifier } = require(modules + "/bip322-js");
const legacy = require(modules + "/bitcoinjs-message");

const PREFIXES = {
  BTC: "\x18Bitcoin Signed Message:\n",
  LTC: "\x19Litecoin Signed Message:\n",
  DOGE: "\x19Dogecoin Signed Message:\n",
  DASH: "\x19DarkCoin Signed Message:\n",
};

const operations = {
  bip322: ({ address, text, signature }) => Verifier.verifySignature(address, text, signature, true),
  legacy: ({ chain, hash160, text, signature }) => {
    // The package knows Bitcoin's base58 and bech32 only; of other chains it takes the address of the same hash.
    return legacy.verify(text, hash160, signature, PREFIXES[chain]);
  },
  sign322: ({ wif, address, text }) => Signer.sign(wif, address, text),
  sign: ({ key, text, chain, options }) =>
    legacy.sign(text, Buffer.from(key, "hex"), true, PREFIXES[chain], options).toString("base64"),
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const request = JSON.parse(line);
  let answer = false;
  try {
    answer = operations[request.op](request);
  } catch {
    answer = false; // these packages throw for much of what is merely invalid
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
