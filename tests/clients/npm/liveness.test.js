// A line that went silent without an end: the client gives it up after a minute, and everything it was
// about happens on the next one. A minute of waiting, beside which the other files run.

import assert from "node:assert/strict";
import { api, Watch, within } from "./harness/client.js";
import { suite } from "./harness/suite.js";
import { checkConnection } from "./harness/wire.js";

const PATIENCE_MS_MAX = 100_000;

suite(
  "liveness",
  (test) => {
    test("a line that went silent is given up", async (stage) => {
      const proxy = await stage.proxy();
      const [alice, bob] = [await stage.as("alice"), await stage.as("bob", { via: proxy })];
      const conversationId = await stage.conversation(alice, bob);
      const page = { conversationId, paginationOpts: { numItems: 10, cursor: null } };
      const messages = new Watch(bob, api.messages.list, page);
      await messages.until(() => true);
      const replaced = new Promise((resolve) => (proxy.onConnection = resolve));
      for (const connection of proxy.open) connection.hold();
      const sent = bob.mutation(api.messages.send, { conversationId, body: "late" });
      await alice.mutation(api.messages.send, { conversationId, body: "missed" });
      await within(replaced, "another connection", PATIENCE_MS_MAX);
      await sent;
      assert.deepEqual(
        messages.last.page.map(({ body }) => body),
        ["late", "missed"],
      );
      assert.equal(proxy.journals[1][0].message.lastCloseReason, "InactiveServer");
      checkConnection(proxy.journals[1]);
    });

    test("a line that takes connections and never answers is given up", async (stage) => {
      const proxy = await stage.proxy();
      proxy.swallowing = true;
      const swallowed = new Promise((resolve) => (proxy.onSwallow = resolve));
      const client = stage.anonymous({ via: proxy });
      const asked = client.query(api.conversations.list, {});
      await within(swallowed, "a connection that is swallowed");
      proxy.swallowing = false;
      assert.deepEqual(await within(asked, "an answer", PATIENCE_MS_MAX), []);
    });

    test("a client that asks for nothing keeps its connection", async (stage) => {
      const proxy = await stage.proxy();
      const client = stage.anonymous({ via: proxy });
      await client.query(api.conversations.list, {});
      let pings = 0;
      const three = new Promise((resolve) => {
        proxy.gate = ({ type }) => void (type === "Ping" && ++pings === 3 && resolve());
      });
      await within(three, "three pings", PATIENCE_MS_MAX);
      assert.equal(proxy.journals.length, 1);
    });
  },
  { concurrency: 3 },
);
