// Actions, which the presence application does not have: against the `base` application of the tests.

import assert from "node:assert/strict";
import { ConvexError } from "convex/values";
import { api, within } from "./harness/client.js";
import { suite } from "./harness/suite.js";
import { checkConnection } from "./harness/wire.js";

suite(
  "actions",
  (test) => {
    test("an action runs a mutation, and watchers see it", async (stage) => {
      const client = stage.anonymous();
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
    });

    test("what an action throws arrives with its data, what it did stays", async (stage) => {
      const client = stage.anonymous();
      const thrown = await client
        .action(api.counters.actAndThrow, { name: "thrown" })
        .catch((error) => error);
      assert(thrown instanceof ConvexError, `${thrown}`);
      assert.deepEqual(thrown.data, { code: "thrown" });
      assert.equal(await client.query(api.counters.count, { name: "thrown" }), 1);
    });

    test("bad calls fail alone", async (stage) => {
      const client = stage.anonymous();
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
    });

    test("the HTTP client runs actions", async (stage) => {
      const client = await stage.http();
      assert.equal(await client.action(api.counters.act, { name: "http" }), 1);
      await assert.rejects(client.action(api.counters.actAndThrow, { name: "http" }), ConvexError);
    });

    test("an action in flight fails when the line is lost, and is not sent again", async (stage) => {
      const proxy = await stage.proxy();
      const client = stage.anonymous({ via: proxy });
      const name = "in flight";
      const lost = (message) => (message.type === "ActionResponse" ? { cutAfter: 1 } : undefined);
      for (let n = 1; n <= 3; n++) {
        proxy.gate = lost;
        await assert.rejects(
          client.action(api.counters.act, { name }),
          /Connection lost while action was in flight/,
        );
        proxy.gate = undefined;
        assert.equal(await client.query(api.counters.count, { name }), n);
      }
      assert.equal(await client.action(api.counters.act, { name }), 4);
      checkConnection(proxy.journals.at(-1));
    });

    test("an action that was asked for during an outage runs once after it", async (stage) => {
      const proxy = await stage.proxy();
      const client = stage.anonymous({ via: proxy });
      await client.query(api.counters.count, { name: "outage" });
      proxy.refusing = true;
      proxy.cut();
      const refused = new Promise((resolve) => (proxy.onRefusal = resolve));
      await within(refused, "an attempt that is refused");
      const acted = client.action(api.counters.act, { name: "outage" });
      proxy.refusing = false;
      assert.equal(await acted, 1);
      assert.equal(await client.query(api.counters.count, { name: "outage" }), 1);
    });
  },
  { base: true },
);
