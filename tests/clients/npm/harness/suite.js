// A suite is a server and tests on it. Every test gets its own people, clients and proxies, and
// all of them are gone when it ends. A failure shows what the server wrote to stderr.

import { after, before, describe, it } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { api, connect, connectBase, signIn } from "./client.js";
import { Proxy } from "./proxy.js";
import { Server } from "./server.js";

/** `body` receives `test(name, run)`; `run` receives a `Stage`. */
export function suite(name, body, { flags } = {}) {
  describe(name, () => {
    let server;
    before(async () => void (server = await Server.start({ flags })));
    after(async () => server?.close());
    body((what, run) => it(what, () => perform(new Stage(server), run)));
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

  /** An HTTP client, signed in if `name` is given. */
  async http(name) {
    const options = { logger: false };
    if (name !== undefined) options.auth = await this.server.token(this.userId(name));
    return new ConvexHttpClient(this.server.url, options);
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
