// Payment URIs and QR codes as other people's libraries read them: {"op": …, "uri" | "png": …} a line.
"use strict";
const { createInterface } = require("node:readline");
const load = (name) => require(process.env.CHAINWATCH_MODULES + "/" + name);

const operations = {
  bip21: ({ uri, scheme }) => load("bip21").decode(uri, scheme),
  eip681: ({ uri }) => load("eth-url-parser").parse(uri),
  solana: ({ uri }) => {
    const { recipient, amount, splToken, reference, label, memo } = load("@solana/pay").parseURL(uri);
    return { recipient, amount: amount && amount.toString(10), splToken, reference, label, memo };
  },
  hive: ({ uri }) => {
    const hive = load("hive-uri");
    const { tx, params } = hive.decode(uri);
    const options = { signers: ["buyer-1"], preferred_signer: "buyer-1" };
    const more = { ref_block_num: 1, ref_block_prefix: 2, expiration: "2026-01-01T00:00:00" };
    return hive.resolveTransaction(tx, params, { ...options, ...more }).tx.operations;
  },
  qr: ({ png }) => {
    const { data, width, height } = load("pngjs").PNG.sync.read(Buffer.from(png, "base64"));
    const jsqr = load("jsqr");
    const found = (jsqr.default || jsqr)(new Uint8ClampedArray(data), width, height);
    return found && found.data;
  },
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = operations[request.op](request);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer === undefined ? null : answer) + "\n");
});
