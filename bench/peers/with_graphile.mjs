// graphile-worker, batched: a local queue of a thousand, ends of jobs written together.
import { run, makeWorkerUtils, Logger } from "graphile-worker";
import { connection, told } from "./runner.mjs";

const [what, url, count] = process.argv.slice(2);
const jobs = Number(count);
const logger = new Logger(() => () => {});

if (what === "prepare") {
  const utils = await makeWorkerUtils({ pgPool: connection(url, 2), logger });
  await utils.migrate();
  for (let first = 0; first < jobs; first += 1000) {
    const some = Array.from({ length: Math.min(1000, jobs - first) }, (_, n) => ({
      identifier: "noop",
      payload: { number: first + n },
    }));
    await utils.addJobs(some);
  }
  await utils.release();
  console.log("{}");
  process.exit(0);
}

let done = 0;
let over;
const all = new Promise((resolve) => (over = resolve));
const pgPool = connection(url, 12);
const began = performance.now();
const cpu = process.cpuUsage();
const runner = await run({
  pgPool,
  logger,
  noHandleSignals: true,
  preset: {
    worker: {
      concurrentJobs: 24,
      maxPoolSize: 12,
      pollInterval: 2000,
      localQueue: { size: 1000 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
  taskList: {
    noop: async () => {
      if (++done === jobs) over();
    },
  },
});
await all;
const measured = told(done, began, cpu); // the ends of the last batch are still to be written
await runner.stop();
console.log(JSON.stringify(measured));
process.exit(0);
