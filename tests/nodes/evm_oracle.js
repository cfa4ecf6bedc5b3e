// ethers, and siwe and tronweb beside it, asked over stdin: {"op": "sign" | "recover" | …} a line.
"use strict";
const { createInterface } = require("node:readline");
const modules = process.env.CHAINWATCH_MODULES + "/";
const { ethers } = require(modules + "ethers");
const later = (name) => () => require(modules + name); // each test needs only its own
const siwe = later("siwe");
const tronweb = later("tronweb");

const coder = ethers.AbiCoder.defaultAbiCoder();
const MAGIC = "0x1626ba7e";
const SUFFIX = "6492".repeat(16);
const isValid = new ethers.Interface(["function isValidSignature(bytes32, bytes) view returns (bytes4)"]);

// Does the contract wallet of this owner say yes?  It takes one ECDSA signature, as most do.
function owns(owner, digest, signature) {
  try {
    return ethers.recoverAddress(digest, signature).toLowerCase() === owner;
  } catch {
    return false;
  }
}

const operations = {
  sign: ({ key, text }) => new ethers.Wallet(key).signMessageSync(text),
  recover: ({ text, signature }) => ethers.verifyMessage(text, signature),
  typed: ({ key, domain, types, message }) => {
    const wallet = new ethers.Wallet(key);
    const digest = ethers.TypedDataEncoder.hash(domain, types, message);
    return { digest, signature: wallet.signingKey.sign(digest).serialized };
  },
  typedRecover: ({ domain, types, message, signature }) => ethers.verifyTypedData(domain, types, message, signature),
  // A sign-in text of the given fields, as siwe writes it.
  siweText: ({ fields }) => new (siwe().SiweMessage)(fields).prepareMessage(),
  // Does siwe read it, is it what it renders to, and who signed it?
  siweSigner: ({ text, signature }) => {
    const message = new (siwe().SiweMessage)(text);
    return message.prepareMessage() === text && ethers.verifyMessage(text, signature) === message.address;
  },
  // What a contract wallet answers to this call data.
  call1271: ({ owner, data }) => {
    const [digest, signature] = isValid.decodeFunctionData("isValidSignature", data);
    return coder.encode(["bytes4"], [owns(owner, digest, signature) ? MAGIC : "0xffffffff"]);
  },
  // A signature of a wallet that is not deployed yet (ERC-6492).
  wrap6492: ({ factory, call, signature }) =>
    coder.encode(["address", "bytes", "bytes"], [factory, call, signature]) + SUFFIX,
  // What the universal validator answers: constructor arguments behind its code, the factory's call inside.
  call6492: ({ owner, wallet, factory, call, code, data }) => {
    if (!data.startsWith(code)) return "0x";
    const [address, digest, wrapped] = coder.decode(["address", "bytes32", "bytes"], "0x" + data.slice(code.length));
    if (address.toLowerCase() !== wallet || !wrapped.endsWith(SUFFIX)) return "0x00";
    const inner = coder.decode(["address", "bytes", "bytes"], wrapped.slice(0, -64));
    const deployed = inner[0].toLowerCase() === factory && inner[1] === call;
    return deployed && owns(owner, digest, inner[2]) ? "0x01" : "0x00";
  },
  tronSign: ({ key, text }) => tronweb().Trx.signMessageV2(text, key),
  tronRecover: ({ text, signature }) => tronweb().Trx.verifyMessageV2(text, signature),
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
