// dhive, asked over stdin: {"op": "sign" | "recover", …} a line.
"use strict";
const { createInterface } = require("node:readline");
const { PrivateKey, Signature, cryptoUtils } = require(process.env.CHAINWATCH_MODULES + "/@hiveio/dhive");

const digest = (text) => cryptoUtils.sha256(Buffer.from(text, "utf8"));
const operations = {
  sign: ({ key, text }) => PrivateKey.from(Buffer.from(key, "hex")).sign(digest(text)).toString(),
  public: ({ key }) => PrivateKey.from(Buffer.from(key, "hex")).createPublic().toString(),
  recover: ({ text, signature }) => Signature.fromString(signature).recover(digest(text)).toString(),
  // A HiveSigner login: the signed text, and the token (base64url) with its signature.
  token: ({ key, author, app, timestamp }) => {
    const login = { signed_message: { type: "login", app }, authors: [author], timestamp };
    const signature = operations.sign({ key, text: JSON.stringify(login) });
    return Buffer.from(JSON.stringify({ ...login, signatures: [signature] })).toString("base64url");
  },
  // Who signed a token, as HiveSigner's own server finds out; and for which app and author.
  tokenSigner: ({ token }) => {
    const { signatures, ...login } = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
    const { signed_message, authors, timestamp } = login;
    const text = JSON.stringify({ signed_message, authors, timestamp });
    return [operations.recover({ text, signature: signatures[0] }), signed_message.app, authors[0], signed_message.type];
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
