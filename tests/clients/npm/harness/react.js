// React without a browser: hooks of the official client in a component that shows nothing.

import { createElement } from "react";
import { act, create } from "react-test-renderer";
import { ConvexProvider, ConvexReactClient } from "convex/react";
import { WebSocket } from "ws";
import { deferred, keptLog, within } from "./client.js";

/** A `ConvexReactClient` for `url` that keeps its log. */
export function connectReact(url, options = {}) {
  const { log, logger } = keptLog();
  const all = { logger, webSocketConstructor: WebSocket, ...options };
  return Object.assign(new ConvexReactClient(url, all), { log });
}

/**
 * A component that calls `hooks` and keeps what they return: `values` after every render, and `errors`
 * thrown while rendering. `Provider` is around it, with `client` and `props`.
 */
export class Mounted {
  #waiting = new Set();
  #root;

  constructor(client, hooks, { Provider = ConvexProvider, props = {} } = {}) {
    this.values = [];
    const Probe = () => {
      this.values.push(hooks());
      for (const check of [...this.#waiting]) check();
      return null;
    };
    const element = createElement(Provider, { client, ...props }, createElement(Probe));
    globalThis.IS_REACT_ACT_ENVIRONMENT = true;
    act(() => void (this.#root = create(element)));
    globalThis.IS_REACT_ACT_ENVIRONMENT = false;
  }

  /** What the newest render gave. */
  get last() {
    return this.values.at(-1);
  }

  /** What a render gives once `accept` agrees with it; now or later. */
  until(accept, what = accept.toString()) {
    const reached = deferred();
    const check = () => void (accept(this.last) && reached.resolve(this.last));
    this.#waiting.add(check);
    check();
    return within(reached.promise, what)
      .catch((error) => {
        error.message += `\nlast render: ${JSON.stringify(this.last)}`;
        throw error;
      })
      .finally(() => this.#waiting.delete(check));
  }

  unmount() {
    this.#root.unmount();
  }
}
