// bench/peers/ws_server.mjs: the same fan-out on npm `ws`: what comes in on /pub goes to every client of /sub.
// node ws_server.mjs PORT; prints "listening PORT".
import { WebSocketServer } from 'ws';

const server = new WebSocketServer({ port: Number(process.argv[2] ?? 0), host: '127.0.0.1', perMessageDeflate: false });
const subscribers = new Set();
server.on('connection', (socket, request) => {
  if (request.url === '/sub') {
    subscribers.add(socket);
    socket.on('close', () => subscribers.delete(socket));
  }
  socket.on('message', (data) => {
    for (const s of subscribers) s.send(data, { binary: false });
  });
});
server.on('listening', () => console.log('listening', server.address().port));
