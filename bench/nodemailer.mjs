// Ready messages through nodemailer's pool: node nodemailer.mjs '{"port", "count", "size", "connections", "dkim"}'.
// Prints {"seconds", "cpu_s"}; messages wait for one of the pool's connections, as its documentation shows.
import { createRequire } from "node:module";

const { port, count, size, connections, dkim } = JSON.parse(process.argv[2]);
const nodemailer = createRequire(process.cwd() + "/")("nodemailer");
const transport = nodemailer.createTransport({
  host: "127.0.0.1", port, pool: true, maxConnections: connections, maxMessages: Infinity, ignoreTLS: true,
  ...(dkim ? { dkim: { domainName: "shop.example", keySelector: "rsa", privateKey: dkim } } : {}),
});
const line = "x".repeat(78) + "\r\n";
const head = "From: hello@shop.example\r\nTo: ada@bench.example\r\nSubject: ready\r\n\r\n";
const raw = Buffer.from(head + line.repeat(Math.floor((size - head.length) / 80)));
const envelope = { from: "hello@shop.example", to: ["ada@bench.example"] };

await transport.sendMail({ envelope, raw });
const cpu = process.cpuUsage(), started = performance.now();
let left = count;
async function work() {
  while (left-- > 0) await transport.sendMail({ envelope, raw });
}
await Promise.all(Array.from({ length: 2 * connections }, work));
const { user, system } = process.cpuUsage(cpu);
console.log(JSON.stringify({ seconds: (performance.now() - started) / 1e3, cpu_s: (user + system) / 1e6 }));
transport.close();
