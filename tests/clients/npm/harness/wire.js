// What must hold for the messages of one connection, whatever the test was about.
// `journal` is a proxy's list of `{from, message}`; `complete` says that the connection was not
// cut, so that everything owed has arrived. Source: sync-protocol, sections 5 to 7.

import assert from "node:assert/strict";

/** Checks one connection; returns how many transitions it saw. */
export function checkConnection(journal, { complete = true } = {}) {
  const state = new ConnectionState();
  for (const { from, message } of journal) {
    if (from === "client") state.client(message);
    else state.server(message);
  }
  if (complete) state.end();
  return state.transitions;
}

class ConnectionState {
  transitions = 0;
  #version = { querySet: 0, identity: 0, ts: 0n };
  #queries = new Set();
  #everAdded = new Set();
  #querySetSent = 0;
  #identitySent = 0;
  #asked = new Map();
  #answeredAt = 0n;
  #transitionOwed = false;
  #unanswered = new Set();
  #resumed = false;

  client(message) {
    switch (message.type) {
      case "Connect":
        this.#resumed = message.connectionCount > 0;
        break;
      case "ModifyQuerySet":
        this.#querySetSent = message.newVersion;
        for (const change of message.modifications) this.#change(change);
        break;
      case "Authenticate":
        this.#identitySent += 1;
        break;
      case "Mutation":
      case "Action":
        assert(!this.#asked.has(message.requestId), "the client asked twice on one connection");
        this.#asked.set(message.requestId, {
          seen: this.#version.ts,
          answered: false,
          perhapsResent: this.#resumed && this.transitions === 0,
        });
        break;
      default:
        break;
    }
  }

  server(message) {
    switch (message.type) {
      case "Transition":
        this.#transition(message);
        break;
      case "MutationResponse":
      case "ActionResponse":
        this.#response(message);
        break;
      case "Ping":
      case "AuthError":
      case "TransitionChunk":
        break;
      default:
        assert.fail(`unexpected message of the server: ${JSON.stringify(message)}`);
    }
  }

  end() {
    const unanswered = [...this.#asked].filter(([, { answered }]) => !answered).map(([id]) => id);
    assert.deepEqual(unanswered, [], "requests without a response");
    assert(!this.#transitionOwed, "no transition followed the last response");
    assert.deepEqual([...this.#unanswered], [], "queries that were added and never answered");
    assert.equal(this.#version.querySet, this.#querySetSent, "query set never confirmed");
    assert.equal(this.#version.identity, this.#identitySent, "identity never confirmed");
  }

  #change(change) {
    if (change.type === "Add") {
      this.#queries.add(change.queryId);
      this.#everAdded.add(change.queryId);
      this.#unanswered.add(change.queryId);
    } else {
      this.#queries.delete(change.queryId);
      this.#unanswered.delete(change.queryId);
    }
  }

  #transition(message) {
    this.transitions += 1;
    const start = version(message.startVersion);
    const end = version(message.endVersion);
    assert.deepEqual(start, this.#version, "startVersion is not the previous endVersion");
    for (const part of ["querySet", "identity", "ts"]) {
      assert(end[part] >= start[part], `${part} went back`);
    }
    assert(end.querySet <= this.#querySetSent, "a query set that the client never announced");
    assert(end.identity <= this.#identitySent, "an identity that the client never announced");
    const ids = message.modifications.map((change) => change.queryId);
    assert.equal(new Set(ids).size, ids.length, "two modifications of one query");
    for (const change of message.modifications) {
      assert(this.#everAdded.has(change.queryId), "a modification of an unknown query");
      if (change.type !== "QueryRemoved") {
        assert(
          change.logLines.every((line) => /^\[\w+\] /.test(line)),
          "log line without level",
        );
        assert("journal" in change, "a result without a journal");
      }
      this.#unanswered.delete(change.queryId);
    }
    assert(message.clientClockSkew == null || Number.isInteger(message.clientClockSkew));
    assert(message.serverTs == null || Number.isInteger(message.serverTs));
    this.#version = end;
    if (end.ts >= this.#answeredAt) this.#transitionOwed = false;
  }

  #response(message) {
    const request = this.#asked.get(message.requestId);
    assert(request !== undefined, "a response to a request that nobody made");
    assert(!request.answered, "two responses to one request");
    request.answered = true;
    assert(Array.isArray(message.logLines), "a response without log lines");
    this.#transitionOwed = true;
    if (message.type === "ActionResponse") return;
    if (!message.success) {
      assert.equal(message.ts ?? null, null, "a failed mutation has no timestamp");
      return;
    }
    const ts = timestamp(message.ts);
    if (ts > this.#answeredAt) this.#answeredAt = ts;
    // What was sent again may have committed before this connection; its first transition may
    // show it.
    if (ts > request.seen && !request.perhapsResent) {
      assert(this.#version.ts < ts, "a transition showed the mutation before its response");
    }
  }
}

function version({ querySet, identity, ts }) {
  return { querySet, identity, ts: timestamp(ts) };
}

/** The number in a wire timestamp: base64 of eight little-endian bytes. */
export function timestamp(wire) {
  return Buffer.from(wire, "base64").readBigUInt64LE();
}
