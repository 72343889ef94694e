// Compression as the official client asks for it by itself: less on the wire, and the same content.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { WebSocket } from "ws";
import { api, Watch } from "./harness/client.js";
import { suite } from "./harness/suite.js";

const MESSAGES = 60;
const UPDATES = 20;

class Uncompressed extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { perMessageDeflate: false });
  }
}

// Passes bytes on unseen; `relay.bytes` came from the server, `relay.head` is how it began.
async function relay(target) {
  const passed = { bytes: 0, head: "" };
  const listener = createServer((client) => {
    const server = connect({ port: target, host: "127.0.0.1" });
    server.on("data", (data) => {
      passed.bytes += data.length;
      if (passed.head.length < 2_000) passed.head += data.toString("latin1");
    });
    for (const socket of [client, server]) {
      socket.on("error", () => {});
      socket.on("close", () => (client.destroy(), server.destroy()));
    }
    client.pipe(server).pipe(client);
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const url = `http://127.0.0.1:${listener.address().port}`;
  return Object.assign(passed, { url, close: () => listener.close() });
}

suite("compression", (test) => {
  test("a list that changes costs a fraction, and is the same list", async (stage) => {
    const writer = await stage.as("writer");
    const conversationId = await stage.conversation(writer);
    const body = (n) => `message ${n}: the quick brown fox jumps over the lazy dog. `.repeat(20);
    for (let n = 0; n < MESSAGES; n++) {
      await writer.mutation(api.messages.send, { conversationId, body: body(n) });
    }
    const relays = await Promise.all([relay(stage.server.port), relay(stage.server.port)]);
    try {
      const [packed, plain] = await Promise.all([
        stage.as("writer", { via: relays[0] }),
        stage.as("writer", { via: relays[1], webSocketConstructor: Uncompressed }),
      ]);
      const args = { conversationId, paginationOpts: { numItems: 1_000, cursor: null } };
      const lists = [packed, plain].map((client) => new Watch(client, api.messages.list, args));
      for (let n = 0; n < UPDATES; n++) {
        const newest = `newest ${n}`;
        const shown = lists.map((list) => list.until(({ page }) => page[0].body === newest));
        await writer.mutation(api.messages.send, { conversationId, body: newest });
        const [a, b] = await Promise.all(shown);
        assert.deepEqual(a.page, b.page);
      }
      const extension = /^sec-websocket-extensions: permessage-deflate/im;
      assert.match(relays[0].head, extension);
      assert.doesNotMatch(relays[1].head, extension);
      const [few, many] = relays.map(({ bytes }) => bytes);
      assert(few * 5 < many, `${few} of ${many} bytes`);
    } finally {
      for (const { close } of relays) close();
    }
  });
});
