// A stock socket.io-client. Arguments: URL, transports with commas, token or "-", then commands by standard input,
// one JSON array a line: ["emit", name, ...arguments] acknowledged as {"ack": …}, ["end"]. Everything that happens
// leaves as a line of JSON.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, transports, token] = process.argv.slice(2);
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const options = { reconnectionDelay: 50, reconnectionDelayMax: 200 };
if (transports !== "default") options.transports = transports.split(",");
if (token !== "-") options.auth = { token };

const socket = io(url, options);
socket.io.on("open", () => {
  const engine = socket.io.engine;
  say({ open: engine.transport.name });
  engine.once("upgrade", (transport) => say({ upgrade: transport.name }));
});
socket.on("connect", () => say({ connect: true }));
socket.on("connect_error", (error) => say({ connect_error: error.message, data: error.data ?? null }));
socket.on("disconnect", (reason) => say({ disconnect: reason }));
socket.onAny((name, message) => say({ event: name, message }));

for await (const line of createInterface({ input: process.stdin })) {
  const [what, ...rest] = JSON.parse(line);
  if (what === "end") break;
  if (what === "emit") socket.emit(...rest, (answer) => say({ ack: answer }));
}
socket.close();
