// Signs an unsigned transaction of ours with dhive, and lets wax, hived's own protocol code, say what was signed.
// Usage: node hive_sign.mjs <node_modules> <chain id> <transaction JSON>
// Prints one JSON object.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [modules, chainId, text] = process.argv.slice(2);
const dhive = createRequire(path.join(modules, "x.js"))("@hiveio/dhive");
const wax = await import(pathToFileURL(path.join(modules, "@hiveio/wax/wasm/dist/bundle/node.js")));
const foundation = await wax.createWaxFoundation({ chainId });

const unsigned = JSON.parse(text);
const key = dhive.PrivateKey.fromSeed("till");
const signed = dhive.cryptoUtils.signTransaction(unsigned, key, Buffer.from(chainId, "hex"));
const digest = dhive.cryptoUtils.transactionDigest(unsigned, Buffer.from(chainId, "hex")).toString("hex");

const NAI = { HIVE: "@@000000021", HBD: "@@000000013" };
const operations = unsigned.operations.map(([, body]) => {
  const [amount, symbol] = body.amount.split(" ");
  const value = { ...body, amount: { amount: amount.replace(".", "").replace(/^0+(?=\d)/, ""), nai: NAI[symbol], precision: 3 } };
  return { type: "transfer_operation", value };
});
const parsed = foundation.createTransactionFromJson({ ...unsigned, operations, signatures: [] });
parsed.validate();
console.log(
  JSON.stringify({
    operations: signed.operations,
    signatures: signed.signatures,
    dhive_digest: digest,
    wax_digest: parsed.legacy_sigDigest,
  }),
);
