// A stock client of our realtime role: joins an event and says when each message came, by the monotonic clock.
//
//     node live.mjs URL EVENT_ID
import { io } from "socket.io-client";

const [url, eventId] = process.argv.slice(2);
const socket = io(url, { transports: ["websocket"] });
socket.on("connect_error", (error) => { console.error(error.message); process.exit(1); });
socket.on("connect", () => socket.emit("subscribe:event", eventId, () => console.log("{}")));
socket.on("ticket_sold", (message) => {
  const at = process.hrtime.bigint();
  console.log(JSON.stringify({ at: Number(at), tickets: message.data.ticketIds }));
});
