// bcoin, asked over stdin: {"op": "verify" | "rpc" | "rpcSign", …} a line.
"use strict";
require("./bcoin_preload.js");
const { createInterface } = require("node:readline");
const modules = process.env.CHAINWATCH_MODULES + "/";
const bio = require(modules + "bufio");
const hash160 = require(modules + "bcrypto/lib/hash160");
const hash256 = require(modules + "bcrypto/lib/hash256");
const secp256k1 = require(modules + "bcrypto/lib/secp256k1");
const Address = require(modules + "bcoin/lib/primitives/address");
const Network = require(modules + "bcoin/lib/protocol/network");
const NodeRpc = require(modules + "bcoin/lib/node/rpc");

const network = Network.get("main");
const MAGIC = "Bitcoin Signed Message:\n";

// What the types of address are for a public key.
const ADDRESSES = {
  p2pkh: (key) => Address.fromPubkeyhash(hash160.digest(key)),
  p2wpkh: (key) => Address.fromWitnessPubkeyhash(hash160.digest(key)),
  "p2sh-p2wpkh": (key) =>
    Address.fromScripthash(hash160.digest(Buffer.concat([Buffer.from([0, 20]), hash160.digest(key)]))),
};
const TYPES = ["p2pkh", "p2pkh", "p2sh-p2wpkh", "p2wpkh"]; // of the headers from 27, 31, 35 and 39 on

const operations = {
  // Bitcoin Core's MessageVerify and BIP-137's headers, of bcoin's own parts: bcrypto's curve, its hashes and addresses.
  verify: ({ address, text, signature }) => {
    const data = Buffer.from(signature, "base64");
    const header = data[0] - 27;
    if (data.length !== 65 || header < 0 || header > 15) return false;
    const writer = bio.write();
    const message = Buffer.from(text, "utf8");
    writer.writeVarBytes(Buffer.from(MAGIC));
    writer.writeVarBytes(message);
    const digest = hash256.digest(writer.render());
    const key = secp256k1.recover(digest, data.subarray(1), header & 3, header >= 4);
    return !!key && ADDRESSES[TYPES[header >> 2]](key).toString(network) === address;
  },
  rpc: ({ address, text, signature }) =>
    NodeRpc.prototype.verifyMessage.call({ network }, [address, signature, text], false),
  rpcSign: ({ wif, text }) => NodeRpc.prototype.signMessageWithPrivkey.call({ network }, [wif, text], false),
};

createInterface({ input: process.stdin }).on("line", async (line) => {
  const request = JSON.parse(line);
  let answer = false;
  try {
    answer = await operations[request.op](request);
  } catch {
    answer = false; // it throws for what does not parse
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
