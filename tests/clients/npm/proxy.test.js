// The proxy itself: what it passes, what it cuts, and what it records.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { Proxy } from "./harness/proxy.js";

describe("proxy", () => {
  let upstream;

  before(async () => {
    upstream = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: true });
    upstream.on("connection", (socket) => {
      socket.on("message", (text) => socket.send(`${text}`));
      socket.on("error", () => {});
    });
    await once(upstream, "listening");
  });

  after(() => upstream.close());

  async function open() {
    const proxy = await Proxy.start(upstream.address().port);
    const socket = new WebSocket(`ws://127.0.0.1:${proxy.port}/path`);
    socket.on("error", () => {});
    await once(socket, "open");
    return { proxy, socket };
  }

  for (const length of [0, 125, 126, 65_535, 65_536, 300_000]) {
    it(`passes a message of ${length} characters and records it`, async () => {
      const { proxy, socket } = await open();
      const message = { body: "ä".repeat(length) };
      socket.send(JSON.stringify(message));
      const [text] = await once(socket, "message");
      assert.deepEqual(JSON.parse(text), message);
      assert.equal(socket.extensions, "", "compression would hide the frames");
      const expected = [
        { from: "client", message },
        { from: "server", message },
      ];
      assert.deepEqual(proxy.journals, [expected]);
      await proxy.close();
    });
  }

  it("cuts both sides", async () => {
    const { proxy, socket } = await open();
    const [peer] = upstream.clients;
    const gone = Promise.all([once(socket, "close"), once(peer, "close")]);
    proxy.cut();
    const [[code], [peerCode]] = await gone;
    assert.deepEqual([code, peerCode], [1006, 1006]);
    assert.equal(proxy.open.size, 0);
    await proxy.close();
  });

  it("cuts inside a frame that the gate names", async () => {
    const { proxy, socket } = await open();
    proxy.gate = (message) => (message.n === 2 ? { cutAfter: 3 } : undefined);
    const received = [];
    socket.on("message", (text) => received.push(JSON.parse(text).n));
    for (const n of [1, 2, 3]) socket.send(JSON.stringify({ n }));
    const [code] = await once(socket, "close");
    assert.equal(code, 1006);
    assert.deepEqual(received, [1]);
    const fromServer = proxy.journals[0].filter(({ from }) => from === "server");
    assert.deepEqual(fromServer, [{ from: "server", message: { n: 1 } }]);
    await proxy.close();
  });

  it("holds back what the gate names and all that follows", async () => {
    const { proxy, socket } = await open();
    const held = new Promise((resolve) => {
      proxy.gate = (message) => {
        if (message.n !== 1) return undefined;
        resolve();
        return { hold: true };
      };
    });
    socket.on("message", () => assert.fail("a held message passed"));
    for (const n of [1, 2]) socket.send(JSON.stringify({ n }));
    await held;
    proxy.cut();
    await once(socket, "close");
    await proxy.close();
  });

  it("cuts when a number of bytes has passed", async () => {
    const { proxy, socket } = await open();
    const [connection] = proxy.open;
    connection.bytesMax = 1_000;
    socket.send(JSON.stringify({ body: "x".repeat(2_000) }));
    const [code] = await once(socket, "close");
    assert.equal(code, 1006);
    await proxy.close();
  });

  it("closes one direction only", async () => {
    const { proxy, socket } = await open();
    const [connection] = proxy.open;
    connection.halfClose();
    const [code] = await once(socket, "close");
    assert.equal(code, 1006);
    await proxy.close();
  });

  for (const side of ["client", "server"]) {
    it(`tells the ${side} alone that nothing more will come`, async () => {
      const { proxy, socket } = await open();
      const [peer] = upstream.clients;
      const [connection] = proxy.open;
      const ended = once(side === "client" ? socket._socket : peer._socket, "end");
      connection.halfClose(side);
      await ended;
      const other = side === "client" ? peer : socket;
      assert.equal(other._socket.readableEnded, false);
      await proxy.close();
    });
  }

  it("lets nothing pass a hole, and no end of it is heard", async () => {
    const { proxy, socket } = await open();
    const [peer] = upstream.clients;
    const [connection] = proxy.open;
    socket.on("message", () => assert.fail("a message passed"));
    peer.on("message", () => assert.fail("a message passed"));
    connection.hold();
    socket.send(JSON.stringify("lost"));
    peer.send(JSON.stringify("lost"));
    const gone = Promise.all([once(socket, "close"), once(peer, "close")]);
    socket._socket.end();
    peer._socket.end();
    await Promise.all([socket, peer].map(({ _socket }) => once(_socket, "finish")));
    assert.deepEqual(
      [socket, peer].map(({ _socket }) => _socket.readableEnded),
      [false, false],
    );
    proxy.cut();
    await gone;
    await proxy.close();
  });

  it("cuts inside a frame of the client", async () => {
    const { proxy, socket } = await open();
    const [peer] = upstream.clients;
    const received = [];
    peer.on("message", (text) => received.push(JSON.parse(text).n));
    proxy.clientGate = (message) => (message.n === 2 ? { cutAfter: 7 } : undefined);
    for (const n of [1, 2, 3]) socket.send(JSON.stringify({ n }));
    const [code] = await once(peer, "close");
    assert.equal(code, 1006);
    assert.deepEqual(received, [1]);
    await proxy.close();
  });

  it("passes bytes one by one, in order", async () => {
    const { proxy, socket } = await open();
    proxy.splitting = true;
    const sizes = [];
    socket._socket.prependListener("data", ({ length }) => sizes.push(length));
    const texts = [1, 2, 3].map((n) => JSON.stringify({ n, body: "ä".repeat(100) }));
    const received = [];
    const all = new Promise((resolve) => {
      socket.on("message", (text) => received.push(`${text}`) === texts.length && resolve());
    });
    for (const text of texts) socket.send(text);
    await all;
    assert.deepEqual(received, texts);
    // A busy receiver may find several bytes at once, but never a frame.
    assert(Math.max(...sizes) < 100, `${sizes}`);
    await proxy.close();
  });

  it("swallows a connection", async () => {
    const { proxy, socket } = await open();
    socket.close();
    proxy.swallowing = true;
    const swallowed = new Promise((resolve) => (proxy.onSwallow = resolve));
    const late = new WebSocket(proxy.url.replace("http", "ws"));
    late.on("open", () => assert.fail("it was answered"));
    await swallowed;
    const [error] = await Promise.all([once(late, "error"), proxy.close()]);
    assert.match(`${error}`, /ECONNRESET|hang up/);
  });

  it("refuses, delays and changes its target", async () => {
    const { proxy, socket } = await open();
    socket.close();
    proxy.refusing = true;
    const refused = new WebSocket(proxy.url.replace("http", "ws"));
    await once(refused, "error");
    assert.equal(proxy.refused, 1);

    proxy.refusing = false;
    proxy.delay_ms = 30;
    const other = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    other.on("connection", (peer) => peer.send(JSON.stringify("other")));
    await once(other, "listening");
    proxy.target = other.address().port;
    const started = performance.now();
    const late = new WebSocket(proxy.url.replace("http", "ws"));
    const [text] = await once(late, "message");
    assert.equal(JSON.parse(text), "other");
    // The answer to the upgrade and the message are both late, one behind the other or at once.
    assert(performance.now() - started >= 29);
    await proxy.close();
    other.close();
  });
});
