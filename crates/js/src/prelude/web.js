// Web interfaces that need no stream: events, abort, text, URL, clones, headers, blobs, forms, random bytes.
//
// Parsing of URLs and anything that must be quick is the host's: `web.host(name, text)`.
"use strict";
(() => {
  const { host, hide } = globalThis.web;
  const expose = (name, value) => hide(globalThis, name, value);
  const tagged = (cls, name) =>
    Object.defineProperty(cls.prototype, Symbol.toStringTag, { value: name, configurable: true });
  const bytesOf = (data) => {
    if (data instanceof ArrayBuffer) return new Uint8Array(data);
    if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return undefined;
  };

  // --- events ---------------------------------------------------------------------------------

  class Event {
    #type;
    #init;
    #prevented = false;
    #stopped = false;
    constructor(type, init = {}) {
      if (arguments.length === 0) throw new TypeError("Event needs a type");
      this.#type = String(type);
      this.#init = { bubbles: false, cancelable: false, composed: false, ...init };
      this.target = null;
      this.currentTarget = null;
      this.eventPhase = 0;
      this.timeStamp = 0;
      this.isTrusted = false;
    }
    get type() { return this.#type; }
    get bubbles() { return Boolean(this.#init.bubbles); }
    get cancelable() { return Boolean(this.#init.cancelable); }
    get composed() { return Boolean(this.#init.composed); }
    get defaultPrevented() { return this.#prevented; }
    preventDefault() { if (this.cancelable) this.#prevented = true; }
    stopPropagation() {}
    stopImmediatePropagation() { this.#stopped = true; }
    composedPath() { return this.currentTarget === null ? [] : [this.currentTarget]; }
    static stopped(event) { return event.#stopped; }
  }
  const stopped = Event.stopped;
  delete Event.stopped;
  for (const [n, name] of ["NONE", "CAPTURING_PHASE", "AT_TARGET", "BUBBLING_PHASE"].entries()) {
    Object.defineProperty(Event, name, { value: n, enumerable: true });
    Object.defineProperty(Event.prototype, name, { value: n, enumerable: true });
  }

  class EventTarget {
    #listeners = [];
    addEventListener(type, callback, options = {}) {
      if (callback === null || callback === undefined) return;
      const { capture = false, once = false, signal } = typeof options === "boolean" ? { capture: options } : options;
      if (signal?.aborted) return;
      type = String(type);
      const known = this.#listeners.some((l) => l.type === type && l.callback === callback && l.capture === capture);
      if (known) return;
      this.#listeners.push({ type, callback, capture, once });
      signal?.addEventListener("abort", () => this.removeEventListener(type, callback, { capture }));
    }
    removeEventListener(type, callback, options = {}) {
      const capture = typeof options === "boolean" ? options : Boolean(options.capture);
      this.#listeners = this.#listeners.filter(
        (l) => !(l.type === String(type) && l.callback === callback && l.capture === capture),
      );
    }
    dispatchEvent(event) {
      event.target = this;
      event.currentTarget = this;
      event.eventPhase = 2;
      for (const listener of this.#listeners) {
        if (listener.type !== event.type || !this.#listeners.includes(listener)) continue;
        if (listener.once) this.removeEventListener(listener.type, listener.callback, listener);
        try {
          if (typeof listener.callback === "function") listener.callback.call(this, event);
          else listener.callback.handleEvent(event);
        } catch (error) {
          console.error(error);
        }
        if (stopped(event)) break;
      }
      event.eventPhase = 0;
      event.currentTarget = null;
      return !event.defaultPrevented;
    }
  }

  class CustomEvent extends Event {
    #detail;
    constructor(type, init = {}) {
      super(type, init);
      this.#detail = init.detail ?? null;
    }
    get detail() { return this.#detail; }
  }

  // --- abort ----------------------------------------------------------------------------------

  const secret = Symbol("signal");
  class AbortSignal extends EventTarget {
    #reason = undefined;
    #aborted = false;
    #onabort = null;
    constructor(key) {
      super();
      if (key !== secret) throw new TypeError("Illegal constructor");
    }
    get aborted() { return this.#aborted; }
    get reason() { return this.#reason; }
    get onabort() { return this.#onabort; }
    set onabort(callback) {
      if (this.#onabort !== null) this.removeEventListener("abort", this.#onabort);
      this.#onabort = typeof callback === "function" ? callback : null;
      if (this.#onabort !== null) this.addEventListener("abort", this.#onabort);
    }
    throwIfAborted() { if (this.#aborted) throw this.#reason; }
    static abort(reason) {
      const controller = new AbortController();
      controller.abort(reason);
      return controller.signal;
    }
    static timeout(ms) {
      const controller = new AbortController();
      setTimeout(() => controller.abort(new DOMException("The operation timed out.", "TimeoutError")), ms);
      return controller.signal;
    }
    static any(signals) {
      const controller = new AbortController();
      for (const signal of signals) {
        if (signal.aborted) {
          controller.abort(signal.reason);
          break;
        }
        signal.addEventListener("abort", () => controller.abort(signal.reason), { signal: controller.signal });
      }
      return controller.signal;
    }
    static fire(signal, reason) {
      if (signal.#aborted) return;
      signal.#aborted = true;
      signal.#reason = reason === undefined ? new DOMException("This operation was aborted", "AbortError") : reason;
      signal.dispatchEvent(new Event("abort"));
    }
  }
  const fire = AbortSignal.fire;
  delete AbortSignal.fire;

  class AbortController {
    #signal = new AbortSignal(secret);
    get signal() { return this.#signal; }
    abort(reason) { fire(this.#signal, reason); }
  }

  // --- text -----------------------------------------------------------------------------------

  class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(text = "") {
      const source = String(text).toWellFormed();
      const bytes = new Uint8Array(source.length * 3);
      const { written } = this.encodeInto(source, bytes);
      return bytes.slice(0, written);
    }
    encodeInto(text, into) {
      const source = String(text);
      let read = 0;
      let written = 0;
      while (read < source.length) {
        let code = source.codePointAt(read);
        const units = code > 0xffff ? 2 : 1;
        if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
        const size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        if (written + size > into.length) break;
        if (size === 1) into[written] = code;
        else {
          for (let n = size - 1; n > 0; n -= 1) {
            into[written + n] = 0x80 | (code & 0x3f);
            code >>= 6;
          }
          into[written] = ((0xf0 << (4 - size)) & 0xff) | code;
        }
        written += size;
        read += units;
      }
      return { read, written };
    }
  }

  const UTF8 = ["utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8"];
  class TextDecoder {
    #fatal;
    #ignoreBOM;
    #encoding;
    #rest = [];
    #begun = false;
    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
      const name = String(label).trim().toLowerCase();
      this.#encoding = UTF8.includes(name) ? "utf-8" : (host("encoding", name) ?? undefined);
      if (this.#encoding === undefined) throw new RangeError(`The "${label}" encoding is not supported`);
      this.#fatal = Boolean(fatal);
      this.#ignoreBOM = Boolean(ignoreBOM);
    }
    get encoding() { return this.#encoding; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#ignoreBOM; }
    decode(input = new Uint8Array(), { stream = false } = {}) {
      const given = bytesOf(input);
      if (given === undefined) throw new TypeError("decode needs an ArrayBuffer or a view of one");
      const bytes = new Uint8Array(this.#rest.length + given.length);
      bytes.set(this.#rest);
      bytes.set(given, this.#rest.length);
      let text;
      if (this.#encoding === "utf-8") {
        const { decoded, rest } = decodeUtf8(bytes, stream, this.#fatal);
        this.#rest = rest;
        text = decoded;
      } else {
        this.#rest = stream ? [...bytes] : [];
        if (stream) return "";
        const ask = JSON.stringify([this.#encoding, this.#fatal, bytes.toBase64()]);
        text = host("decode", ask);
        if (text === null) throw new TypeError("The encoded data was not valid for encoding " + this.#encoding);
      }
      if (!this.#begun && text !== "") {
        if (!this.#ignoreBOM && text.charCodeAt(0) === 0xfeff) text = text.slice(1);
        this.#begun = true;
      }
      if (!stream) this.#begun = false;
      return text;
    }
  }

  const decodeUtf8 = (bytes, stream, fatal) => {
    const parts = [];
    let text = "";
    const bad = () => {
      if (fatal) throw new TypeError("The encoded data was not valid for encoding utf-8");
      text += "\ufffd";
    };
    let n = 0;
    while (n < bytes.length) {
      const lead = bytes[n];
      if (lead < 0x80) {
        text += String.fromCharCode(lead);
        n += 1;
      } else {
        const size = lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 1;
        if (size === 1) {
          bad();
          n += 1;
          continue;
        }
        let code = lead & (0x7f >> size);
        let at = 1;
        for (; at < size && n + at < bytes.length; at += 1) {
          const byte = bytes[n + at];
          const low = at === 1 ? (lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80) : 0x80;
          const high = at === 1 ? (lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf) : 0xbf;
          if (byte < low || byte > high) break;
          code = (code << 6) | (byte & 0x3f);
        }
        if (at === size) text += String.fromCodePoint(code);
        else if (n + at === bytes.length && stream) return { decoded: parts.join("") + text, rest: [...bytes.slice(n)] };
        else bad();
        n += at;
      }
      if (text.length > 8192) {
        parts.push(text);
        text = "";
      }
    }
    return { decoded: parts.join("") + text, rest: [] };
  };

  // --- URL ------------------------------------------------------------------------------------

  const usv = (value) => String(value).toWellFormed();
  const pairs = (init) => {
    if (init === undefined || init === null) return [];
    if (typeof init === "object" || typeof init === "function") {
      if (typeof init[Symbol.iterator] === "function") {
        return Array.from(init, (pair) => {
          const both = Array.from(pair);
          if (both.length !== 2) throw new TypeError("each pair has a name and a value");
          return [usv(both[0]), usv(both[1])];
        });
      }
      return Object.keys(init).map((key) => [usv(key), usv(init[key])]);
    }
    const text = usv(init);
    return JSON.parse(host("query parse", text.startsWith("?") ? text.slice(1) : text));
  };

  class URLSearchParams {
    #list;
    #changed = () => {};
    constructor(init = "") {
      this.#list = pairs(init);
    }
    static of(text, changed) {
      const params = new URLSearchParams(text);
      params.#changed = changed;
      return params;
    }
    static reset(params, text) { params.#list = pairs(text); }
    get size() { return this.#list.length; }
    append(name, value) { this.#list.push([usv(name), usv(value)]); this.#changed(); }
    delete(name, value) {
      const keeps = ([n, v]) => n !== usv(name) || (value !== undefined && v !== usv(value));
      this.#list = this.#list.filter(keeps);
      this.#changed();
    }
    get(name) { return this.#list.find(([n]) => n === usv(name))?.[1] ?? null; }
    getAll(name) { return this.#list.filter(([n]) => n === usv(name)).map(([, v]) => v); }
    has(name, value) {
      return this.#list.some(([n, v]) => n === usv(name) && (value === undefined || v === usv(value)));
    }
    set(name, value) {
      const at = this.#list.findIndex(([n]) => n === usv(name));
      if (at < 0) this.#list.push([usv(name), usv(value)]);
      else {
        this.#list[at][1] = usv(value);
        this.#list = this.#list.filter(([n], position) => n !== usv(name) || position === at);
      }
      this.#changed();
    }
    sort() {
      this.#list.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
      this.#changed();
    }
    forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }
    *entries() { for (let n = 0; n < this.#list.length; n += 1) yield [...this.#list[n]]; }
    *keys() { for (const [name] of this.entries()) yield name; }
    *values() { for (const [, value] of this.entries()) yield value; }
    [Symbol.iterator]() { return this.entries(); }
    toString() { return this.#list.length === 0 ? "" : host("query write", JSON.stringify(this.#list)); }
  }
  const { of: paramsOf, reset: resetParams } = URLSearchParams;
  delete URLSearchParams.of;
  delete URLSearchParams.reset;

  class URL {
    #parts;
    #params = null;
    constructor(url, base) {
      if (arguments.length === 0) throw new TypeError("URL needs an address");
      this.#parts = URL.#parse(usv(url), base === undefined ? null : usv(base));
    }
    static #parse(url, base) {
      const parsed = host("url parse", JSON.stringify([url, base]));
      if (parsed === null) {
        const error = new TypeError("Invalid URL");
        error.code = "ERR_INVALID_URL";
        error.input = url;
        throw error;
      }
      return JSON.parse(parsed);
    }
    static canParse(url, base) {
      return host("url parse", JSON.stringify([usv(url), base === undefined ? null : usv(base)])) !== null;
    }
    static parse(url, base) {
      return URL.canParse(url, base) ? new URL(url, base) : null;
    }
    #set(part, value) {
      this.#parts = JSON.parse(host("url set", JSON.stringify([this.#parts.href, part, usv(value)])));
    }
    #setSearch(text) {
      this.#set("search", text);
    }
    get href() { return this.#parts.href; }
    set href(value) {
      this.#parts = URL.#parse(usv(value), null);
      if (this.#params !== null) resetParams(this.#params, this.#parts.search);
    }
    get origin() { return this.#parts.origin; }
    get search() { return this.#parts.search; }
    set search(value) {
      this.#setSearch(value);
      if (this.#params !== null) resetParams(this.#params, this.#parts.search);
    }
    get searchParams() {
      this.#params ??= paramsOf(this.#parts.search, () => this.#setSearch(this.#params.toString()));
      return this.#params;
    }
    static {
      for (const part of ["protocol", "username", "password", "host", "hostname", "port", "pathname", "hash"]) {
        Object.defineProperty(URL.prototype, part, {
          get() { return this.#parts[part]; },
          set(value) { this.#set(part, value); },
          enumerable: true,
          configurable: true,
        });
      }
    }
    toString() { return this.href; }
    toJSON() { return this.href; }
  }

  // --- clones ---------------------------------------------------------------------------------

  const uncloneable = (value) => new DOMException(`${String(value)} could not be cloned.`, "DataCloneError");
  const clone = (value, seen) => {
    if (typeof value === "function" || typeof value === "symbol") throw uncloneable(value);
    if (typeof value !== "object" || value === null) return value;
    if (seen.has(value)) return seen.get(value);
    const keep = (copy) => {
      seen.set(value, copy);
      return copy;
    };
    if (value instanceof Date) return keep(new Date(value.getTime()));
    if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
    if (value instanceof ArrayBuffer) return keep(value.slice(0));
    if (ArrayBuffer.isView(value)) {
      const buffer = clone(value.buffer, seen);
      const length = value instanceof DataView ? value.byteLength : value.length;
      return keep(new value.constructor(buffer, value.byteOffset, length));
    }
    if (value instanceof Map) {
      const copy = keep(new Map());
      for (const [k, v] of [...value]) copy.set(clone(k, seen), clone(v, seen));
      return copy;
    }
    if (value instanceof Set) {
      const copy = keep(new Set());
      for (const v of [...value]) copy.add(clone(v, seen));
      return copy;
    }
    if (value instanceof Error) {
      const known = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
      const copy = keep(Object.create((known[value.name] ?? Error).prototype));
      for (const name of ["message", "stack", "cause"]) {
        if (Object.hasOwn(value, name)) hide(copy, name, clone(value[name], seen));
      }
      return copy;
    }
    if (value instanceof Blob) return value;
    for (const boxed of [Boolean, Number, String, BigInt]) {
      if (value instanceof boxed) return keep(Object(value.valueOf()));
    }
    if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) throw uncloneable(value);
    const copy = keep(Array.isArray(value) ? new Array(value.length) : {});
    for (const key of Object.keys(value)) copy[key] = clone(value[key], seen);
    return copy;
  };
  const structuredClone = (value, options) => {
    if (options !== undefined) host("refuse", "structuredClone with options is not supported");
    return clone(value, new Map());
  };

  // --- blobs ----------------------------------------------------------------------------------

  class Blob {
    #bytes;
    #type;
    constructor(parts = [], { type = "", endings = "transparent" } = {}) {
      if (typeof parts !== "object" || parts === null || typeof parts[Symbol.iterator] !== "function") {
        throw new TypeError("the parts of a Blob are a sequence");
      }
      const chunks = [];
      for (const part of parts) {
        if (part instanceof Blob) chunks.push(part.#bytes);
        else {
          const bytes = bytesOf(part);
          const text = () => (endings === "native" ? String(part).replace(/\r\n?/g, "\n") : String(part));
          chunks.push(bytes === undefined ? new TextEncoder().encode(text()) : bytes.slice());
        }
      }
      this.#bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
      let at = 0;
      for (const chunk of chunks) {
        this.#bytes.set(chunk, at);
        at += chunk.length;
      }
      this.#type = /^[\x20-\x7e]*$/.test(String(type)) ? String(type).toLowerCase() : "";
    }
    get size() { return this.#bytes.length; }
    get type() { return this.#type; }
    async arrayBuffer() { return this.#bytes.slice().buffer; }
    async bytes() { return this.#bytes.slice(); }
    async text() { return new TextDecoder().decode(this.#bytes); }
    stream() { return new Response(this).body; }
    slice(start = 0, end = this.size, type = "") {
      return new Blob([this.#bytes.slice(start, end)], { type });
    }
    static bytes(blob) { return blob.#bytes; }
  }
  const bytesOfBlob = Blob.bytes;
  delete Blob.bytes;

  class File extends Blob {
    #name;
    #lastModified;
    constructor(parts, name, options = {}) {
      if (arguments.length < 2) throw new TypeError("File needs parts and a name");
      super(parts, options);
      this.#name = String(name);
      this.#lastModified = Number(options.lastModified ?? Date.now());
    }
    get name() { return this.#name; }
    get lastModified() { return this.#lastModified; }
  }

  class FormData {
    #list = [];
    #entry(name, value, filename) {
      if (value instanceof Blob) {
        const label = filename ?? (value instanceof File ? value.name : "blob");
        const file = value instanceof File && filename === undefined;
        return [usv(name), file ? value : new File([value], usv(label), { type: value.type })];
      }
      return [usv(name), usv(value)];
    }
    append(name, value, filename) { this.#list.push(this.#entry(name, value, filename)); }
    set(name, value, filename) {
      const entry = this.#entry(name, value, filename);
      const at = this.#list.findIndex(([n]) => n === entry[0]);
      if (at < 0) return void this.#list.push(entry);
      this.#list[at] = entry;
      this.#list = this.#list.filter(([n], position) => n !== entry[0] || position === at);
    }
    delete(name) { this.#list = this.#list.filter(([n]) => n !== usv(name)); }
    get(name) { return this.#list.find(([n]) => n === usv(name))?.[1] ?? null; }
    getAll(name) { return this.#list.filter(([n]) => n === usv(name)).map(([, v]) => v); }
    has(name) { return this.#list.some(([n]) => n === usv(name)); }
    forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }
    *entries() { for (const [name, value] of this.#list) yield [name, value]; }
    *keys() { for (const [name] of this.#list) yield name; }
    *values() { for (const [, value] of this.#list) yield value; }
    [Symbol.iterator]() { return this.entries(); }
  }

  // --- headers --------------------------------------------------------------------------------

  const headerName = (name) => {
    const text = String(name);
    if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text)) throw new TypeError(`Invalid header name: ${text}`);
    return text.toLowerCase();
  };
  const headerValue = (value) => {
    const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
    if (/[\0\n\r]/.test(text) || /[^\0-\xff]/.test(text)) throw new TypeError("Invalid header value");
    return text;
  };
  class Headers {
    #list = [];
    constructor(init) {
      if (init === undefined) return;
      if (typeof init !== "object" || init === null) throw new TypeError("Headers needs an object or pairs");
      if (typeof init[Symbol.iterator] === "function") {
        for (const pair of init) {
          const both = Array.from(pair);
          if (both.length !== 2) throw new TypeError("each header has a name and a value");
          this.append(both[0], both[1]);
        }
      } else for (const name of Object.keys(init)) this.append(name, init[name]);
    }
    append(name, value) { this.#list.push([headerName(name), headerValue(value)]); }
    delete(name) {
      const key = headerName(name);
      this.#list = this.#list.filter(([n]) => n !== key);
    }
    get(name) {
      const key = headerName(name);
      const found = this.#list.filter(([n]) => n === key).map(([, value]) => value);
      return found.length === 0 ? null : found.join(", ");
    }
    getSetCookie() { return this.#list.filter(([n]) => n === "set-cookie").map(([, value]) => value); }
    has(name) {
      const key = headerName(name);
      return this.#list.some(([n]) => n === key);
    }
    set(name, value) {
      const key = headerName(name);
      const checked = headerValue(value);
      const at = this.#list.findIndex(([n]) => n === key);
      if (at < 0) return void this.#list.push([key, checked]);
      this.#list[at] = [key, checked];
      this.#list = this.#list.filter(([n], position) => n !== key || position === at);
    }
    *entries() {
      const names = [...new Set(this.#list.map(([name]) => name))].sort();
      for (const name of names) {
        if (name === "set-cookie") for (const value of this.getSetCookie()) yield [name, value];
        else yield [name, this.get(name)];
      }
    }
    *keys() { for (const [name] of this.entries()) yield name; }
    *values() { for (const [, value] of this.entries()) yield value; }
    forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }
    [Symbol.iterator]() { return this.entries(); }
  }

  // --- random bytes ---------------------------------------------------------------------------

  const INTEGERS = [
    Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, BigInt64Array, BigUint64Array,
  ];
  const crypto = {
    getRandomValues(into) {
      if (!INTEGERS.some((kind) => into instanceof kind)) {
        throw new DOMException("getRandomValues needs an integer array", "TypeMismatchError");
      }
      if (into.byteLength > 65536) {
        throw new DOMException(`The requested length exceeds 65,536 bytes`, "QuotaExceededError");
      }
      bytesOf(into).set(Uint8Array.fromBase64(host("random bytes", String(into.byteLength))));
      return into;
    },
    randomUUID() {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      bytes[6] = (bytes[6] & 0x0f) | 0x40;
      bytes[8] = (bytes[8] & 0x3f) | 0x80;
      const hex = bytes.toHex();
      return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
    },
  };

  for (const [name, cls] of Object.entries({
    Event, EventTarget, CustomEvent, AbortSignal, AbortController, TextEncoder, TextDecoder, URLSearchParams, URL,
    Blob, File, FormData, Headers,
  })) {
    tagged(cls, name);
    expose(name, cls);
  }
  expose("structuredClone", structuredClone);
  expose("crypto", crypto);
  Object.assign(globalThis.web, { bytesOf, bytesOfBlob, headerName });
})();
