// pg-boss: one worker that fetches and completes a thousand jobs at a time.
import { PgBoss } from "pg-boss";
import { pgOptions, told } from "./runner.mjs";

const [what, url, count] = process.argv.slice(2);
const jobs = Number(count);
const boss = new PgBoss({ ...pgOptions(url), max: 4, supervise: false, schedule: false });
boss.on("error", (error) => {
  throw error;
});

if (what === "prepare") {
  await boss.start();
  await boss.createQueue("noop");
  for (let first = 0; first < jobs; first += 1000) {
    const some = Array.from({ length: Math.min(1000, jobs - first) }, (_, n) => ({
      data: { number: first + n },
    }));
    await boss.insert("noop", some);
  }
  await boss.stop();
  console.log("{}");
  process.exit(0);
}

await boss.start();
const began = performance.now();
const cpu = process.cpuUsage();
let done = 0;
// Its own worker waits for its polling interval after each batch; its documented fetch and complete
// do not, and are what its benchmark uses.
for (;;) {
  const batch = await boss.fetch("noop", { batchSize: 1000 });
  if (batch.length === 0) break;
  await boss.complete(
    "noop",
    batch.map((job) => job.id),
  );
  done += batch.length;
}
console.log(JSON.stringify(told(done, began, cpu)));
process.exit(0);
