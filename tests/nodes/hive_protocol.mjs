// Reads a (simulated) Hive node with dhive, and holds its transactions against wax, hived's own protocol code.
// Usage: node hive_protocol.mjs <node_modules> <node url> <memo public key> <payer seed> <memo text …>
// Prints one JSON object.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [modules, url, memoKey, seed, ...texts] = process.argv.slice(2);
const dhive = createRequire(path.join(modules, "x.js"))("@hiveio/dhive");
const wax = await import(pathToFileURL(path.join(modules, "@hiveio/wax/wasm/dist/bundle/node.js")));
const foundation = await wax.createWaxFoundation();

async function call(method, params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const answer = await (await fetch(url, { method: "POST", body })).json();
  if (answer.error) throw new Error(answer.error.message);
  return answer.result;
}

const client = new dhive.Client(url);
const properties = await client.database.getDynamicGlobalProperties();
const legacy = [];
for (let n = 1; n <= properties.head_block_number; n++) legacy.push(await client.database.getBlock(n));
const { blocks } = await call("block_api.get_block_range", { starting_block_num: 1, count: 1000 });

const checked = [];
for (const block of blocks) {
  block.transactions.forEach((tx, i) => {
    const parsed = foundation.createTransactionFromJson(tx);
    parsed.validate();
    checked.push({ said: block.transaction_ids[i], wax: parsed.legacy_id });
  });
}
for (const block of legacy) {
  block.transactions.forEach((tx, i) => {
    const known = tx.operations.every(([name]) => name === "transfer"); // dhive 1.3 cannot serialise all operations
    if (known) checked.push({ said: block.transaction_ids[i], dhive: dhive.cryptoUtils.generateTrxId(tx) });
  });
}

const payer = dhive.PrivateKey.fromSeed(seed);
const memos = texts.map((text) => dhive.Memo.encode(payer, memoKey, "#" + text));
console.log(
  JSON.stringify({
    head: properties.head_block_number,
    irreversible: properties.last_irreversible_block_num,
    blocks: legacy.map((b) => ({
      id: b.block_id,
      previous: b.previous,
      ids: b.transaction_ids,
      operations: b.transactions.map((t) => t.operations),
    })),
    checked,
    memos,
    back: memos.map((memo) => dhive.Memo.decode(payer, memo)),
    payer: payer.createPublic().toString(),
    wif: payer.toString(),
  }),
);
