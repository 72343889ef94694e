// A TCP proxy between client and server that misbehaves on request.
//
//     client ──► proxy ──► server      frames are read on the way and kept per connection
//
// It cuts (both sides reset), half-closes, refuses, holds back, delays, and lets a frame of the
// server pass only in part. It is transparent otherwise, except that it removes the client's
// offer of compression, so that frames can be read.

import { once } from "node:events";
import { createServer, connect } from "node:net";
import { FrameReader } from "./frames.js";

const HEAD_END = "\r\n\r\n";

export class Proxy {
  #listener;
  #serial = 0;

  /** Open connections. */
  open = new Set();
  /** The protocol messages of every connection, in the order of connecting. */
  journals = [];
  /** While true, a new connection is reset as soon as it is there. */
  refusing = false;
  /** How many connections were refused. */
  refused = 0;
  /** Milliseconds that every frame of the server is late. */
  delay_ms = 0;
  /**
   * Sees each frame of the server before it passes: `(message, connection) => verdict`, where
   * `message` is the decoded JSON. Nothing: it passes. `{cutAfter: n}`: its first `n` bytes
   * pass, then the connection is cut. `{hold: true}`: it and all after it wait for `cut`.
   */
  gate = undefined;
  /** Called with each new connection before bytes pass. */
  onConnection = undefined;

  /** A proxy on a free port in front of `port`. */
  static async start(port) {
    const proxy = new Proxy();
    proxy.target = port;
    proxy.#listener = createServer({ allowHalfOpen: true }, (socket) => proxy.#accept(socket));
    proxy.#listener.listen(0, "127.0.0.1");
    await once(proxy.#listener, "listening");
    proxy.port = proxy.#listener.address().port;
    return proxy;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Resets all connections, on both sides. */
  cut() {
    for (const connection of [...this.open]) connection.cut();
  }

  /** Cuts everything and stops listening. */
  async close() {
    this.cut();
    this.#listener.close();
    await once(this.#listener, "close");
  }

  #accept(client) {
    if (this.refusing) {
      this.refused += 1;
      reset(client);
      return;
    }
    const connection = new Connection(this, client, this.#serial++);
    this.open.add(connection);
    this.journals.push(connection.journal);
    this.onConnection?.(connection);
    connection.start();
  }
}

class Connection {
  #proxy;
  #client;
  #server;
  #requestHead = Buffer.alloc(0);
  #requestDone = false;
  #responseHead = Buffer.alloc(0);
  #responseDone = false;
  #fromClient = new FrameReader();
  #fromServer = new FrameReader();
  #held = false;
  #passed = 0;

  constructor(proxy, client, serial) {
    this.#proxy = proxy;
    this.#client = client;
    this.serial = serial;
    /** `{from: "client" | "server", message}` for each text message that passed. */
    this.journal = [];
    /** When both directions together have passed this many bytes, the connection is cut. */
    this.bytesMax = Infinity;
  }

  start() {
    this.#server = connect({ port: this.#proxy.target, host: "127.0.0.1", allowHalfOpen: true });
    for (const socket of [this.#client, this.#server]) {
      socket.setNoDelay(true);
      socket.on("error", () => this.cut());
      socket.on("close", () => this.cut());
    }
    this.#client.on("data", (bytes) => this.#request(bytes));
    this.#client.on("end", () => this.#server.end());
    this.#server.on("data", (bytes) => this.#response(bytes));
    this.#server.on("end", () => this.#later(() => this.#client.end()));
  }

  /** Resets both sides. */
  cut() {
    if (!this.#proxy.open.delete(this)) return;
    reset(this.#client);
    reset(this.#server);
  }

  /** Tells the client that the server will send nothing more; the other direction stays. */
  halfClose() {
    this.#held = true;
    this.#client.end();
  }

  #request(bytes) {
    if (this.#requestDone) {
      for (const { text, bytes: frame } of this.#fromClient.push(bytes)) {
        this.#note("client", text);
        this.#pass(this.#server, frame);
      }
      return;
    }
    this.#requestHead = Buffer.concat([this.#requestHead, bytes]);
    const end = this.#requestHead.indexOf(HEAD_END);
    if (end === -1) return;
    this.#requestDone = true;
    const head = this.#requestHead.toString("latin1", 0, end + HEAD_END.length);
    const rest = this.#requestHead.subarray(end + HEAD_END.length);
    const plain = head.replace(/^sec-websocket-extensions:.*\r\n/im, "");
    this.#pass(this.#server, Buffer.from(plain, "latin1"));
    if (rest.length > 0) this.#request(rest);
  }

  #response(bytes) {
    if (this.#responseDone) {
      for (const frame of this.#fromServer.push(bytes)) this.#later(() => this.#deliver(frame));
      return;
    }
    this.#responseHead = Buffer.concat([this.#responseHead, bytes]);
    const end = this.#responseHead.indexOf(HEAD_END);
    if (end === -1) return;
    this.#responseDone = true;
    const rest = this.#responseHead.subarray(end + HEAD_END.length);
    const head = this.#responseHead.subarray(0, end + HEAD_END.length);
    this.#later(() => this.#pass(this.#client, head));
    if (rest.length > 0) this.#response(rest);
  }

  #deliver({ text, bytes }) {
    if (this.#held) return;
    const verdict = text === undefined ? undefined : this.#proxy.gate?.(JSON.parse(text), this);
    if (verdict?.hold) {
      this.#held = true;
      return;
    }
    if (verdict?.cutAfter !== undefined) {
      this.#held = true;
      // The bytes leave before the reset: a reset discards what the kernel has not sent.
      this.#client.write(bytes.subarray(0, verdict.cutAfter), () => this.cut());
      return;
    }
    this.#note("server", text);
    this.#pass(this.#client, bytes);
  }

  #pass(socket, bytes) {
    const left = this.bytesMax - this.#passed;
    this.#passed += bytes.length;
    if (socket.destroyed) return;
    if (left > bytes.length) {
      socket.write(bytes);
    } else {
      socket.write(bytes.subarray(0, Math.max(left, 0)), () => this.cut());
    }
  }

  #note(from, text) {
    if (text !== undefined) this.journal.push({ from, message: JSON.parse(text) });
  }

  #later(step) {
    if (this.#proxy.delay_ms === 0) step();
    else setTimeout(step, this.#proxy.delay_ms);
  }
}

// Resets `socket`. One whose FIN is on its way can no longer be reset, only closed.
function reset(socket) {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
