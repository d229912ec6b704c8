// What the runners in JavaScript share.
import { readFileSync } from "node:fs";
import pg from "pg";

// A socket's folder is a host that no URL parser takes.
export function pgOptions(url) {
  const [, user, database, query] = /^postgresql:\/\/(\w+)@\/(\w+)\?(.*)$/.exec(url);
  const given = new URLSearchParams(query);
  return { user, database, host: given.get("host"), port: Number(given.get("port")) };
}

export function connection(url, max) {
  const pool = new pg.Pool({ ...pgOptions(url), max });
  pool.on("error", () => {}); // the worker hears of it at its next query
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}

export function told(jobs, began, cpu) {
  const used = process.cpuUsage(cpu);
  return {
    jobs,
    seconds: (performance.now() - began) / 1000,
    cpu_s: (used.user + used.system) / 1e6,
    rss_mb: (Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024) / 1e6,
  };
}
