// What wallets and pages on Solana use, asked over stdin: {"op": "sign" | "verify" | …} a line; bytes are hex.
//   tweetnacl                       the curve, in JavaScript; node:crypto: the curve of OpenSSL
//   @solana/wallet-standard-util    sign-in texts, and whether one is signed as it says
//   @solana/offchain-messages       the envelopes of versions 0 and 1
//   @solana/web3.js                 transactions
"use strict";
const crypto = require("node:crypto");
const { createInterface } = require("node:readline");
const modules = process.env.CHAINWATCH_MODULES + "/";
const nacl = require(modules + "tweetnacl");
const later = (name) => () => require(modules + name); // each test needs only its own
const standard = later("@solana/wallet-standard-util");
const offchain = later("@solana/offchain-messages");
const web3 = later("@solana/web3.js");

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");
const utf8 = (text) => new TextEncoder().encode(text);
// Where the curve is not the question: OpenSSL's, which is a hundred times as fast as the curve in JavaScript.
const der = (prefix, data, type) => ({ key: Buffer.from(prefix + data, "hex"), format: "der", type });
const secretKey = (seed) => crypto.createPrivateKey(der("302e020100300506032b657004220420", seed, "pkcs8"));
const publicKey = (data) => crypto.createPublicKey(der("302a300506032b6570032100", data, "spki"));
const signed = (data, seed) => hex(crypto.sign(null, data, secretKey(seed)));
const verified = (data, signature, key) => crypto.verify(null, data, publicKey(key), bytes(signature));

const MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr";
const ZERO_DOMAIN = "11111111111111111111111111111111";

// The shortest of the three forms that holds the text: printable ASCII, 1232 bytes of UTF-8, or more.
function content(text) {
  const size = utf8(text).length;
  const format = size > 1232 ? 2 : /^[\x20-\x7e]*$/.test(text) ? 0 : 1;
  return { format, text };
}

function envelope(version, text, address) {
  const requiredSignatories = [{ address }];
  return version === 1
    ? offchain().compileOffchainMessageV1Envelope({ version, requiredSignatories, content: text }).content
    : offchain().compileOffchainMessageV0Envelope({
        version,
        requiredSignatories,
        applicationDomain: ZERO_DOMAIN,
        content: content(text),
      }).content;
}

const operations = {
  sign: ({ seed, text }) => {
    const pair = nacl.sign.keyPair.fromSeed(bytes(seed));
    return hex(nacl.sign.detached(utf8(text), pair.secretKey));
  },
  verify: ({ key, text, signature }) => nacl.sign.detached.verify(utf8(text), bytes(signature), bytes(key)),
  signBytes: ({ seed, data }) => signed(bytes(data), seed),
  verifyBytes: ({ key, data, signature }) => verified(bytes(data), signature, key),
  // A sign-in text of the given fields, signed.
  signIn: ({ seed, input }) => {
    const text = standard().createSignInMessageText(input);
    return { text, signature: signed(utf8(text), seed) };
  },
  // Is this text what its own fields render to, and did the key sign it?
  verifySignIn: ({ key, text, signature }) => {
    const input = standard().parseSignInMessageText(text);
    const account = { address: input && input.address, publicKey: bytes(key) };
    return !!input && standard().verifySignIn(input, { account, signedMessage: utf8(text), signature: bytes(signature) });
  },
  signOffchain: ({ version, seed, address, text }) => signed(envelope(version, text, address), seed),
  verifyOffchain: ({ version, key, address, text, signature }) =>
    verified(envelope(version, text, address), signature, key),
  // A transaction that only carries a memo, with a blockhash that never was.
  signMemo: ({ seed, text }) => {
    const { Transaction, TransactionInstruction, PublicKey, Keypair } = web3();
    const signer = Keypair.fromSeed(bytes(seed));
    const keys = [{ pubkey: signer.publicKey, isSigner: true, isWritable: true }];
    const data = Buffer.from(text, "utf8");
    const transaction = new Transaction({ recentBlockhash: ZERO_DOMAIN, feePayer: signer.publicKey });
    transaction.add(new TransactionInstruction({ programId: new PublicKey(MEMO), keys, data }));
    transaction.sign(signer);
    // Its own serialize refuses what is longer than a packet, which nobody sends here.
    const message = transaction.serializeMessage();
    return hex(Buffer.concat([Buffer.from([1]), transaction.signature, message]));
  },
  // Over the very bytes: its own verifySignatures compiles the message anew, and misses a changed header.
  verifyMemo: ({ address, text, transaction }) => {
    const raw = Buffer.from(transaction, "hex");
    const { instructions, feePayer } = web3().Transaction.from(raw);
    return (
      raw[0] === 1 &&
      instructions.length === 1 &&
      instructions[0].programId.toBase58() === MEMO &&
      instructions[0].data.equals(Buffer.from(text, "utf8")) &&
      feePayer.toBase58() === address &&
      verified(raw.subarray(65), hex(raw.subarray(1, 65)), hex(feePayer.toBytes()))
    );
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
