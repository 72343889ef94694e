// A TCP proxy between client and server that misbehaves on request.
//
//     client ──► proxy ──► server      frames are read on the way and kept per connection
//
// It cuts (both sides reset, at a frame, inside one, or at a number of bytes), drops (both sides
// end without a word), half-closes either side, refuses, swallows, holds back, delays both ways, and
// passes bytes one by one. It is transparent otherwise, except that it removes the client's offer of
// compression, so that frames can be read.

import { once } from "node:events";
import { createServer, connect } from "node:net";
import { FrameReader } from "./frames.js";

const HEAD_END = "\r\n\r\n";

export class Proxy {
  #listener;
  #serial = 0;
  #swallowed = new Set();

  /** Open connections. */
  open = new Set();
  /** The protocol messages of every connection, in the order of connecting. */
  journals = [];
  /** While true, a new connection is reset as soon as it is there. */
  refusing = false;
  /** How many connections were refused. */
  refused = 0;
  /** Called with each of them. */
  onRefusal = undefined;
  /** While true, a new connection is let in and nothing that comes on it goes anywhere. */
  swallowing = false;
  /** Called with each of them. */
  onSwallow = undefined;
  /** Milliseconds that every frame of the server is late. */
  delay_ms = 0;
  /** Milliseconds that every frame of the client is late. */
  delayUp_ms = 0;
  /** While true, what passes comes in single bytes. */
  splitting = false;
  /**
   * Sees each frame of the server before it passes: `(message, connection) => verdict`, where
   * `message` is the decoded JSON. Nothing: it passes. `{cutAfter: n}`: its first `n` bytes
   * pass, then the connection is cut. `{hold: true}`: neither it nor anything after it passes
   * either way; the connection stays open. `{drop: true}`: instead of it both sides see an end.
   * `{halfClose: side}`: see `Connection.halfClose`; it passes if it goes the other way.
   */
  gate = undefined;
  /** The same for each frame of the client. */
  clientGate = undefined;
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
    for (const client of this.#swallowed) reset(client);
    this.#swallowed.clear();
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
      this.onRefusal?.();
      reset(client);
      return;
    }
    if (this.swallowing) {
      swallow(client);
      this.#swallowed.add(client);
      this.onSwallow?.();
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
  // What each side still gets: nothing after a hold, a half-close or a cut on its way.
  #deaf = { client: false, server: false };
  #lines = {};
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
    this.#lines = { client: new Line(this.#client), server: new Line(this.#server) };
    this.#client.on("data", (bytes) => this.#request(bytes));
    this.#client.on("end", () => this.#later("server", () => this.#end("server")));
    this.#server.on("data", (bytes) => this.#response(bytes));
    this.#server.on("end", () => this.#later("client", () => this.#end("client")));
  }

  /** Resets both sides. */
  cut() {
    if (!this.#proxy.open.delete(this)) return;
    reset(this.#client);
    reset(this.#server);
  }

  /** Ends both sides, in order and without a close frame. */
  drop() {
    this.halfClose("client");
    this.halfClose("server");
  }

  /** Tells `side` that the other one will send nothing more; the other direction stays. */
  halfClose(side = "client") {
    this.#end(side);
    this.#deaf[side] = true;
  }

  /** Lets nothing pass any more, either way. Both sides stay open, as behind a dead router. */
  hold() {
    this.#deaf = { client: true, server: true };
  }

  #end(side) {
    if (!this.#deaf[side]) this.#lines[side].end();
  }

  #request(bytes) {
    if (this.#requestDone) {
      for (const frame of this.#fromClient.push(bytes)) {
        this.#later("server", () => this.#deliver(frame, "server"));
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
    this.#later("server", () => this.#pass("server", Buffer.from(plain, "latin1")));
    if (rest.length > 0) this.#request(rest);
  }

  #response(bytes) {
    if (this.#responseDone) {
      for (const frame of this.#fromServer.push(bytes)) {
        this.#later("client", () => this.#deliver(frame, "client"));
      }
      return;
    }
    this.#responseHead = Buffer.concat([this.#responseHead, bytes]);
    const end = this.#responseHead.indexOf(HEAD_END);
    if (end === -1) return;
    this.#responseDone = true;
    const rest = this.#responseHead.subarray(end + HEAD_END.length);
    const head = this.#responseHead.subarray(0, end + HEAD_END.length);
    this.#later("client", () => this.#pass("client", head));
    if (rest.length > 0) this.#response(rest);
  }

  // A frame on its way to `side`.
  #deliver({ text, bytes }, side) {
    if (this.#deaf[side]) return;
    const gate = side === "client" ? this.#proxy.gate : this.#proxy.clientGate;
    const verdict = text === undefined ? undefined : gate?.(JSON.parse(text), this);
    if (verdict?.hold) return this.hold();
    if (verdict?.drop) return this.drop();
    if (verdict?.halfClose !== undefined) this.halfClose(verdict.halfClose);
    if (this.#deaf[side]) return;
    if (verdict?.cutAfter !== undefined) {
      this.hold();
      // The bytes leave before the reset: a reset discards what the kernel has not sent.
      this.#lines[side].write(bytes.subarray(0, verdict.cutAfter), () => this.cut());
      return;
    }
    this.#note(side === "client" ? "server" : "client", text);
    this.#pass(side, bytes);
  }

  #pass(side, bytes) {
    if (this.#deaf[side]) return;
    const left = this.bytesMax - this.#passed;
    this.#passed += bytes.length;
    const line = this.#lines[side];
    line.splitting = this.#proxy.splitting;
    if (left > bytes.length) {
      line.write(bytes);
    } else {
      line.write(bytes.subarray(0, Math.max(left, 0)), () => this.cut());
    }
  }

  #note(from, text) {
    if (text !== undefined) this.journal.push({ from, message: JSON.parse(text) });
  }

  #later(side, step) {
    const delay = side === "client" ? this.#proxy.delay_ms : this.#proxy.delayUp_ms;
    if (delay === 0) step();
    else setTimeout(step, delay);
  }
}

// One direction of a connection: writes in order, in single bytes if it is told to.
class Line {
  splitting = false;
  #socket;
  #queue = [];
  #busy = false;

  constructor(socket) {
    this.#socket = socket;
  }

  write(bytes, done = () => {}) {
    this.#queue.push({ bytes, done, size: this.splitting ? 1 : Math.max(bytes.length, 1) });
    this.#next();
  }

  end() {
    this.#queue.push({ end: true });
    this.#next();
  }

  #next() {
    while (!this.#busy && this.#queue.length > 0) {
      const [first] = this.#queue;
      const socket = this.#socket;
      if (first.end || socket.destroyed || socket.writableEnded) {
        if (first.end && !socket.destroyed) socket.end();
        this.#queue.shift();
        first.done?.();
        continue;
      }
      const piece = first.bytes.subarray(0, first.size);
      first.bytes = first.bytes.subarray(piece.length);
      const last = first.bytes.length === 0;
      if (last) this.#queue.shift();
      if (!last) this.#busy = true;
      // The next byte leaves when this one is with the kernel, so that the peer gets them apart.
      socket.write(piece, () => {
        if (last) return first.done();
        setImmediate(() => {
          this.#busy = false;
          this.#next();
        });
      });
    }
  }
}

// Resets `socket`. One whose FIN is on its way can no longer be reset, only closed.
function reset(socket) {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

// Takes what comes on `socket` and forgets it.
function swallow(socket) {
  socket.on("error", () => {});
  socket.resume();
}
