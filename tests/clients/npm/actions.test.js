// Actions, which the presence application does not have: against the `base` application of the tests.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { ConvexError } from "convex/values";
import { connect, keptLog } from "./harness/client.js";
import { CONCAVE_BIN } from "./harness/server.js";

describe("actions", () => {
  let child, data, url;

  before(async () => {
    data = await mkdtemp(join(tmpdir(), "concave-base-"));
    const program = join(dirname(CONCAVE_BIN), "base-server");
    child = spawn(program, [data], { stdio: ["ignore", "pipe", "inherit"] });
    url = await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`base-server ended with ${code}`)));
      createInterface({ input: child.stdout }).once("line", (line) =>
        resolve(line.replace("listening on ", "")),
      );
    });
  });

  after(async () => {
    child.removeAllListeners("exit");
    child.kill("SIGKILL");
    await rm(data, { recursive: true, force: true });
  });

  test("an action runs a mutation, and watchers see it", async () => {
    const client = connect(url);
    try {
      // An action's answer does not wait for the transition that shows what it did.
      const shown = new Promise((resolve) => {
        client.onUpdate(api.counters.count, { name: "seen" }, (value) => {
          if (value === 21) resolve();
        });
      });
      assert.equal(await client.action(api.counters.act, { name: "seen" }), 1);
      const again = await Promise.all(
        Array.from({ length: 20 }, () => client.action(api.counters.act, { name: "seen" })),
      );
      const expected = Array.from({ length: 20 }, (_, n) => n + 2);
      assert.deepEqual(
        again.toSorted((a, b) => a - b),
        expected,
      );
      await shown;
    } finally {
      await client.close();
    }
  });

  test("what an action throws arrives with its data, what it did stays", async () => {
    const client = connect(url);
    try {
      const thrown = await client
        .action(api.counters.actAndThrow, { name: "thrown" })
        .catch((error) => error);
      assert(thrown instanceof ConvexError, `${thrown}`);
      assert.deepEqual(thrown.data, { code: "thrown" });
      assert.equal(await client.query(api.counters.count, { name: "thrown" }), 1);
    } finally {
      await client.close();
    }
  });

  test("bad calls fail alone", async () => {
    const client = connect(url);
    try {
      await assert.rejects(client.action(api.counters.act, { name: 1 }), /ArgumentValidationError/);
      await assert.rejects(
        client.action(api.counters.nothing, {}),
        /Could not find public function/,
      );
      await assert.rejects(
        client.action(api.counters.incr, { name: "x" }),
        /Trying to execute counters\.js:incr as Action, but it is defined as Mutation\./,
      );
      await assert.rejects(
        client.mutation(api.counters.act, { name: "x" }),
        /Trying to execute counters\.js:act as Mutation, but it is defined as Action\./,
      );
      assert.equal(await client.query(api.counters.count, { name: "x" }), null);
    } finally {
      await client.close();
    }
  });

  test("the HTTP client runs actions", async () => {
    const client = new ConvexHttpClient(url, { logger: keptLog().logger });
    assert.equal(await client.action(api.counters.act, { name: "http" }), 1);
    await assert.rejects(client.action(api.counters.actAndThrow, { name: "http" }), ConvexError);
  });
});
