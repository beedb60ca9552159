// Node's own EventSource (the standard's, by undici). Arguments: URL. Messages leave as lines of JSON.
const source = new EventSource(process.argv[2]);
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
source.onopen = () => say({ open: true });
source.onerror = () => say({ error: source.readyState });
source.addEventListener("subscribed", (event) => say({ subscribed: JSON.parse(event.data) }));
source.onmessage = (event) => say({ id: event.lastEventId, message: JSON.parse(event.data) });
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
