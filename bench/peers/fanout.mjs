// One message to every client, as node's usual servers do it: `ws` plain, `ws` with a frame built once, `socket.io`.
//
//     node fanout.mjs ws|prepared|socket.io REDIS_URL CHANNEL
//
// It says the port that it listens on. What arrives on CHANNEL of Redis goes to everybody.
import { createServer } from "node:http";
import Redis from "ioredis";
import { Server } from "socket.io";
import { Sender, WebSocketServer } from "ws";

const [kind, redisUrl, channel] = process.argv.slice(2);
const http = createServer();

function webSockets(send) {
  const server = new WebSocketServer({ server: http, perMessageDeflate: false });
  return (text) => send(server.clients, text);
}

function socketIo() {
  const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, httpCompression: false });
  // As its manual advises for memory: the first request of a connection is not kept.
  io.engine.on("connection", (socket) => { socket.request = null; });
  io.on("connection", (socket) => socket.on("subscribe:event", (id, told) => { socket.join(`event:${id}`); told({}); }));
  return (text) => { const message = JSON.parse(text); io.to(message.channel).emit(message.type, message); };
}

const kinds = {
  ws: () => webSockets((clients, text) => { for (const client of clients) client.send(text); }),
  prepared: () => webSockets((clients, text) => {
    const [head, body] = Sender.frame(Buffer.from(text), { fin: true, opcode: 1, mask: false, readOnly: true, rsv1: false });
    const frame = Buffer.concat([head, body]);
    for (const client of clients) client._socket.write(frame);
  }),
  "socket.io": socketIo,
};

const publish = kinds[kind]();
const redis = new Redis(redisUrl);
redis.on("message", (_channel, text) => publish(text));
await redis.subscribe(channel);
http.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => console.log(http.address().port));
