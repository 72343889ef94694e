// The script whose output the README shows.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { suite } from "./harness/suite.js";

const SCRIPT = fileURLToPath(new URL("two-users.js", import.meta.url));

const OUTPUT = `\
in an empty room
  alice sees: nobody
  bob sees: nobody
alice: presence:setPresence online
  alice sees: alice online
  bob sees: alice online
bob: presence:setPresence online
  alice sees: alice online, bob online
  bob sees: alice online, bob online
alice: presence:setPresence typing
  alice sees: alice typing, bob online
  bob sees: alice typing, bob online
alice: presence:setPresence online
  alice sees: alice online, bob online
  bob sees: alice online, bob online
bob: presence:setPresence offline
  alice sees: alice online, bob offline
  bob sees: alice online, bob offline
`;

suite("two users", (test) => {
  test("see each other, as the README shows", async ({ server }) => {
    const args = [SCRIPT, server.url, server.data];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args);
    assert.equal(stdout, OUTPUT);
    assert.equal(stderr, "");
  });
});
