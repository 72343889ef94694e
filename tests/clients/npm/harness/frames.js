// WebSocket frames out of a byte stream, as far as a proxy needs them (RFC 6455, section 5.2).
//
// `push` returns what became complete: one entry per frame, with the bytes as they came and,
// on the last frame of a text message, the text. Compressed messages are not understood; the
// proxy removes the client's offer of compression.

const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };
const NAMES = new Map(Object.entries(OPCODE).map(([name, code]) => [code, name]));

export class FrameReader {
  #buffer = Buffer.alloc(0);
  #message = [];

  /** Complete frames so far: `{kind, bytes, text}`; `text` only where a text message ends. */
  push(bytes) {
    this.#buffer = Buffer.concat([this.#buffer, bytes]);
    const frames = [];
    for (let frame = this.#take(); frame !== undefined; frame = this.#take()) frames.push(frame);
    return frames;
  }

  #take() {
    const buffer = this.#buffer;
    const head = header(buffer);
    if (head === undefined || buffer.length < head.start + head.length) return undefined;
    const end = head.start + head.length;
    const payload = Buffer.from(buffer.subarray(head.start, end));
    if (head.mask !== undefined) {
      for (let i = 0; i < payload.length; i++) payload[i] ^= head.mask[i % 4];
    }
    const bytes = buffer.subarray(0, end);
    this.#buffer = buffer.subarray(end);
    return { kind: NAMES.get(head.opcode) ?? "unknown", bytes, text: this.#text(head, payload) };
  }

  #text({ opcode, final }, payload) {
    if (opcode !== OPCODE.text && opcode !== OPCODE.continuation) return undefined;
    this.#message.push(payload);
    if (!final) return undefined;
    const text = Buffer.concat(this.#message).toString("utf8");
    this.#message = [];
    return text;
  }
}

// The header of the frame at the start of `buffer`, or undefined while it is incomplete.
function header(buffer) {
  if (buffer.length < 2) return undefined;
  const masked = (buffer[1] & 0x80) !== 0;
  const short = buffer[1] & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  const start = 2 + extended + (masked ? 4 : 0);
  if (buffer.length < start) return undefined;
  const length =
    extended === 0
      ? short
      : extended === 2
        ? buffer.readUInt16BE(2)
        : Number(buffer.readBigUInt64BE(2));
  const mask = masked ? buffer.subarray(start - 4, start) : undefined;
  return { final: (buffer[0] & 0x80) !== 0, opcode: buffer[0] & 0x0f, start, length, mask };
}
