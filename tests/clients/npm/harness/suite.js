// A suite is a server and tests on it. Every test gets its own people, clients and proxies, and
// all of them are gone when it ends. A failure shows what the server wrote to stderr.

import { after, before, describe, it } from "node:test";
import { version } from "convex";
import { ConvexHttpClient } from "convex/browser";
import { api, connect, connectBase, keptLog, signIn } from "./client.js";
import { Proxy } from "./proxy.js";
import { Server } from "./server.js";

/**
 * `body` receives `test(name, run)`; `run` receives a `Stage`. `test.since(release)` is the same for
 * tests of what that release of the client brought: older ones skip them. `flags` and `base` are those
 * of the server; `concurrency`: as many tests run side by side.
 */
export function suite(name, body, { flags, base, concurrency } = {}) {
  describe(name, { concurrency }, () => {
    let server;
    before(async () => void (server = await Server.start({ flags, base })));
    after(async () => server?.close());
    const since = (release) => (what, run) => {
      const skip = isOlder(version, release) && `needs convex ${release}`;
      it(what, { skip }, () => perform(new Stage(server), run));
    };
    body(Object.assign(since("0.0.0"), { since }));
  });
}

async function perform(stage, run) {
  try {
    await run(stage);
  } catch (error) {
    error.message += `\nserver wrote: ${stage.server.stderr || "nothing"}`;
    throw error;
  } finally {
    await stage.close();
  }
}

// Whether release `a` is older than `b`.
function isOlder(a, b) {
  const [as, bs] = [a, b].map((release) => release.split(".").map(Number));
  const n = as.findIndex((part, n) => part !== bs[n]);
  return n !== -1 && as[n] < bs[n];
}

let serial = 0;

export class Stage {
  #closing = [];

  constructor(server) {
    this.server = server;
    this.serial = ++serial;
  }

  /** The subject of `name`: no other test has the same. */
  userId(name) {
    return `${name}-${this.serial}`;
  }

  /** A client without identity. */
  anonymous({ via = this.server, ...options } = {}) {
    return this.#keep(connect(via.url, options));
  }

  /** A client signed in as `name`; `client.userId` is its subject. */
  async as(name, options) {
    const userId = this.userId(name);
    const client = this.anonymous(options);
    await signIn(client, await this.server.token(userId));
    return Object.assign(client, { userId });
  }

  /** A `BaseConvexClient` signed in as `name`. */
  async baseAs(name, onTransition, { via = this.server, ...options } = {}) {
    const userId = this.userId(name);
    const client = this.#keep(connectBase(via.url, onTransition, options));
    await signIn(client, await this.server.token(userId));
    return Object.assign(client, { userId });
  }

  /** A React client without identity. */
  async react({ via = this.server, ...options } = {}) {
    const { connectReact } = await import("./react.js");
    return this.#keep(connectReact(via.url, options));
  }

  /** A React client signed in as `name`. */
  async reactAs(name, options) {
    const userId = this.userId(name);
    const client = await this.react(options);
    await signIn(client, await this.server.token(userId));
    return Object.assign(client, { userId });
  }

  /** A component that calls `hooks`; see `Mounted`. */
  async mount(client, hooks, around) {
    const { Mounted } = await import("./react.js");
    const mounted = new Mounted(client, hooks, around);
    this.#closing.push(() => mounted.unmount());
    return mounted;
  }

  /** An HTTP client, signed in if `name` is given. */
  async http(name) {
    const client = new ConvexHttpClient(this.server.url, { logger: keptLog().logger });
    if (name !== undefined) client.setAuth(await this.server.token(this.userId(name)));
    return client;
  }

  /** A proxy in front of the server. */
  async proxy() {
    const proxy = await Proxy.start(this.server.port);
    this.#closing.push(() => proxy.close());
    return proxy;
  }

  /** A new conversation of `creator` and `others`. */
  async conversation(creator, ...others) {
    const memberIds = others.map((other) => other.userId ?? other);
    return creator.mutation(api.conversations.create, { memberIds });
  }

  async close() {
    await Promise.all(this.#closing.splice(0).map((close) => close()));
  }

  #keep(client) {
    this.#closing.push(() => client.close());
    return client;
  }
}
