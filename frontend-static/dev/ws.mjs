/* A WebSocket server's side of RFC 6455, just enough for one development page: text frames, ping, close; no extensions, no fragments. */
import { createHash } from "node:crypto";

export function accept(req, socket, protocol) {
  const key = createHash("sha1").update(req.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${key}\r\nSec-WebSocket-Protocol: ${protocol}\r\n\r\n`,
  );
  socket.setNoDelay(true);
  let buffer = Buffer.alloc(0);
  const ws = { onmessage: () => {}, onclose: () => {}, open: true };
  const frame = (opcode, payload) => {
    const n = payload.length;
    const head = n < 126 ? Buffer.from([0x80 | opcode, n]) : n < 65536 ? Buffer.from([0x80 | opcode, 126, n >> 8, n & 255]) : Buffer.alloc(10);
    if (n >= 65536) {
      head[0] = 0x80 | opcode;
      head[1] = 127;
      head.writeBigUInt64BE(BigInt(n), 2);
    }
    if (ws.open) socket.write(Buffer.concat([head, payload]));
  };
  ws.send = (v) => frame(1, Buffer.from(JSON.stringify(v)));
  ws.close = (code = 1000) => {
    frame(8, Buffer.from([code >> 8, code & 255]));
    socket.end();
  };
  ws.drop = () => socket.destroy();
  const gone = () => {
    if (ws.open) {
      ws.open = false;
      ws.onclose();
    }
  };
  socket.on("close", gone);
  socket.on("error", gone);
  socket.on("data", (d) => {
    buffer = Buffer.concat([buffer, d]);
    for (;;) {
      if (buffer.length < 2) return;
      const op = buffer[0] & 15;
      let n = buffer[1] & 127;
      let at = 2;
      if (n === 126) {
        if (buffer.length < 4) return;
        n = buffer.readUInt16BE(2);
        at = 4;
      } else if (n === 127) {
        if (buffer.length < 10) return;
        n = Number(buffer.readBigUInt64BE(2));
        at = 10;
      }
      if (buffer.length < at + 4 + n) return;
      const mask = buffer.subarray(at, at + 4);
      const body = Buffer.from(buffer.subarray(at + 4, at + 4 + n));
      for (let i = 0; i < n; i++) body[i] ^= mask[i & 3];
      buffer = buffer.subarray(at + 4 + n);
      if (op === 8) return ws.close();
      if (op === 9) frame(10, body);
      if (op === 1) ws.onmessage(body.toString());
    }
  });
  return ws;
}
