// The official client as the tests use it: real, unmodified, watched.

import assert from "node:assert/strict";
import { BaseConvexClient, ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";
import { WebSocket } from "ws";

/** References to functions by name: `api.messages.send`. */
export const api = anyApi;

const WAIT_MS_MAX = 30_000;

/**
 * A `ConvexClient` for `url` that keeps its log instead of printing it: `client.log` has an
 * entry `[level, text]` for each line.
 */
export function connect(url, options = {}) {
  const { log, logger } = keptLog();
  return Object.assign(new ConvexClient(url, { logger, ...options }), { log });
}

/** The same for `BaseConvexClient`; `onTransition` is called with the changed tokens. */
export function connectBase(url, onTransition = () => {}, options = {}) {
  const { log, logger } = keptLog();
  const base = { logger, webSocketConstructor: WebSocket, ...options };
  return Object.assign(new BaseConvexClient(url, onTransition, base), { log });
}

/** A logger that prints nothing, and the list of what it was given. */
export function keptLog() {
  const log = [];
  const at =
    (level) =>
    (...parts) =>
      void log.push([level, parts.map(String).join(" ")]);
  return { log, logger: { log: at("log"), warn: at("warn"), error: at("error"), logVerbose() {} } };
}

/** Signs `client` in with a fixed token; returns when the server has accepted it. */
export async function signIn(client, token) {
  const answer = deferred();
  const refused = () => answer.reject(new Error("the token was refused"));
  client.setAuth(
    async () => token,
    (yes) => (yes ? answer.resolve() : refused()),
  );
  await within(answer.promise, "the server to accept a token");
  return client;
}

/**
 * The results that a subscription of `client` delivers, in order.
 * `error` entries hold what `onError` received.
 */
export class Watch {
  #waiting = new Set();

  constructor(client, query, args) {
    this.values = [];
    this.errors = [];
    const value = (result) => this.#take(this.values, result);
    const error = (reason) => this.#take(this.errors, reason);
    this.subscription = client.onUpdate(query, args, value, error);
  }

  /** The newest result, or undefined before the first. */
  get last() {
    return this.values.at(-1);
  }

  /** The newest result once `accept` agrees with it; now or later. */
  until(accept, what = accept.toString()) {
    return this.#when(
      () => this.values.length > 0 && accept(this.last),
      () => this.last,
      what,
    );
  }

  /** The first error that the subscription delivers. */
  failure() {
    return this.#when(
      () => this.errors.length > 0,
      () => this.errors[0],
      "an error",
    );
  }

  stop() {
    this.subscription();
  }

  #take(list, entry) {
    list.push(entry);
    for (const check of [...this.#waiting]) check();
  }

  #when(ready, result, what) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(check);
        const seen = JSON.stringify(this.last, (_, v) => (typeof v === "bigint" ? `${v}n` : v));
        const failed = this.errors.length > 0 ? `\nerror: ${this.errors.at(-1).message}` : "";
        reject(new Error(`waited in vain for ${what}\nlast result: ${seen}${failed}`));
      }, WAIT_MS_MAX);
      const check = () => {
        if (!ready()) return;
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve(result());
      };
      this.#waiting.add(check);
      check();
    });
  }
}

/** A promise with its `resolve` and `reject` outside. */
export function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}

/** `promise`, or an error that names `what` when it takes too long. */
export function within(promise, what, ms = WAIT_MS_MAX) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Resolves when the connection state of `client` satisfies `accept`. */
export function connectionState(client, accept, what) {
  if (accept(client.connectionState())) return Promise.resolve();
  const reached = deferred();
  const stop = client.subscribeToConnectionState((state) => accept(state) && reached.resolve());
  return within(reached.promise, what).finally(stop);
}

/**
 * Asserts that the client complained of nothing, but for the failures of mutations and actions,
 * which it prints in addition to rejecting their promises.
 */
export function assertQuiet(client) {
  const expected = ([level, line]) => level === "log" || /^\[CONVEX [MA]\(/.test(line);
  assert.deepEqual(
    client.log.filter((entry) => !expected(entry)),
    [],
  );
}
