// Has the tests import another release of the client, installed beside the newest under an alias:
//
//     CONVEX=convex-1.17 node --import ./harness/release.js --test
//
// The same module is the hook, which Node runs in a thread of its own.

import { register } from "node:module";
import { isMainThread } from "node:worker_threads";

if (isMainThread) register(import.meta.url);

export function resolve(specifier, context, next) {
  const ours = !context.parentURL?.includes("/node_modules/");
  return next(ours ? specifier.replace(/^convex(?=\/|$)/, process.env.CONVEX) : specifier, context);
}
