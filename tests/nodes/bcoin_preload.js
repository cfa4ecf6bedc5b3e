// bcoin loads leveldown when it starts.  Its native part does not build for present versions of Node.js, and a
// chain that lives in memory never calls it: an empty class takes its place.
"use strict";
const Module = require("module");
const load = Module._load;
Module._load = function (name, ...rest) {
  return name === "leveldown" ? class {} : load.call(this, name, ...rest);
};
