// BullMQ: the time from adding a job until another process starts it.
//
//     node jobs.mjs work REDIS_URL                    says "0" when it is ready, then each job's milliseconds
//     node jobs.mjs add REDIS_URL COUNT PER_SECOND
import { Queue, Worker } from "bullmq";
import Redis from "ioredis";

const [what, redisUrl, count, perSecond] = process.argv.slice(2);
const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
const now = () => Number(process.hrtime.bigint()) / 1e6;

if (what === "work") {
  const worker = new Worker("bench", async (job) => console.log(now() - job.data.at), { connection, concurrency: 20, skipVersionCheck: true });
  await worker.waitUntilReady();
  console.log("0");
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
