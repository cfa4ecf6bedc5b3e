// Writes contracts.json beside this file: node compile.js   (needs npm's solc on NODE_PATH; recorded with solc 0.8.37)
const fs = require("fs");
const path = require("path");
const solc = require("solc");

const source = fs.readFileSync(path.join(__dirname, "Coin.sol"), "utf8");
const output = JSON.parse(
  solc.compile(
    JSON.stringify({
      language: "Solidity",
      sources: { "Coin.sol": { content: source } },
      settings: {
        optimizer: { enabled: true, runs: 200 },
        evmVersion: "paris",
        metadata: { appendCBOR: false },
        outputSelection: { "*": { "*": ["evm.bytecode.object", "evm.methodIdentifiers"] } },
      },
    })
  )
);
for (const error of output.errors || []) console.error(error.formattedMessage);
const contracts = {};
for (const [name, made] of Object.entries(output.contracts["Coin.sol"]))
  contracts[name] = { bytecode: "0x" + made.evm.bytecode.object, selectors: made.evm.methodIdentifiers };
fs.writeFileSync(path.join(__dirname, "contracts.json"), JSON.stringify(contracts, null, 1) + "\n");
