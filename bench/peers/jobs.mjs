// BullMQ: the time from adding a job until another process starts it.
//
//     node jobs.mjs work REDIS_URL                    says "0" when it is ready, then each job's milliseconds
//     node jobs.mjs add REDIS_URL COUNT PER_SECOND
//     node jobs.mjs rate REDIS_URL COUNT CONCURRENCY  adds them all, then says how many a second a worker runs
import { Queue, Worker } from "bullmq";
import Redis from "ioredis";

const [what, redisUrl, count, perSecond] = process.argv.slice(2);
const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
const now = () => Number(process.hrtime.bigint()) / 1e6;

if (what === "work") {
  const worker = new Worker("bench", async (job) => console.log(now() - job.data.at), { connection, concurrency: 20, skipVersionCheck: true });
  await worker.waitUntilReady();
  console.log("0");
} else if (what === "rate") {
  const queue = new Queue("rate", { connection, skipVersionCheck: true });
  const jobs = Array.from({ length: 1000 }, () => ({ name: "rate", data: {}, opts: { removeOnComplete: true } }));
  for (let number = 0; number < Number(count); number += jobs.length) await queue.addBulk(jobs);
  let left = Number(count);
  let end;
  const done = new Promise((resolve) => (end = resolve));
  const began = now();
  const run = async () => { if (--left === 0) end(now()); };
  const worker = new Worker("rate", run, { connection, concurrency: Number(perSecond), skipVersionCheck: true });
  console.log((Number(count) * 1000) / ((await done) - began));
  await worker.close();
  await queue.close();
  connection.disconnect();
} else {
  const queue = new Queue("bench", { connection, skipVersionCheck: true });
  await queue.waitUntilReady();
  const began = now();
  for (let number = 0; number < Number(count); number++) {
    const pause = began + (number * 1000) / Number(perSecond) - now();
    if (pause > 0) await new Promise((resume) => setTimeout(resume, pause));
    await queue.add("bench", { at: now() }, { removeOnComplete: true });
  }
  await queue.close();
  connection.disconnect();
}
