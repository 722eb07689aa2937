// Keeps all connections in a file, as cleat tells of them. It may be stopped or killed at any moment, and so may cleat: what
// a message says and the token after it are written together, so that nothing is missed or taken twice. With a database,
// write both in one transaction.
//
//     node build/watch.js 127.0.0.1:7481 connections.json

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type ClientReadableStream, credentials, loadPackageDefinition, type ServiceError, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const HEARTBEAT = 15_000; // ms, unless the request says otherwise
// The request itself is wrong, or may not be made: the same again would fail again.
const FATAL = [status.INVALID_ARGUMENT, status.PERMISSION_DENIED, status.UNAUTHENTICATED, status.UNIMPLEMENTED];
const PROTOS = process.env["CLEAT_PROTOS"] ?? join(__dirname, "../../../../proto");

// Of what cleat says, the part that is used here.
interface Connection {
  orgConnectionId: string;
  externalId: string;
  status: string;
  version: string;
}
interface Message {
  resumeToken: string;
  message: "started" | "snapshotBatch" | "snapshotEnd" | "changeBatch" | "caughtUp" | "fellBehind" | "heartbeat" | "goingAway";
  started?: { snapshot: boolean };
  snapshotBatch?: { connections: Connection[] };
  changeBatch?: { changes: { effect: string; connection: Connection }[] };
  goingAway?: { reconnectAfter: { seconds: string; nanos: number } | null };
}
type Stream = ClientReadableStream<Message>;

const definition = loadSync("cleat/v1/connection.proto", { includeDirs: [PROTOS], longs: String, enums: String, oneofs: true });
// What is loaded when the program runs has no types.
const { ConnectionService } = (loadPackageDefinition(definition) as any).cleat.v1;

class Table {
  // `token`: after the last message that was taken; empty: none was, or none is of use.
  private held: { token: string; connections: Record<string, Connection> } = { token: "", connections: {} };
  private seen = new Set<string>();

  constructor(private readonly path: string) {
    if (existsSync(path)) this.held = JSON.parse(readFileSync(path, "utf8"));
  }

  get token(): string {
    return this.held.token;
  }

  forgetToken(): void {
    this.held.token = "";
    this.write();
  }

  take(message: Message): void {
    const { connections } = this.held;
    switch (message.message) {
      case "started":
        if (message.started?.snapshot) this.seen.clear();
        break;
      case "snapshotBatch":
        for (const row of message.snapshotBatch?.connections ?? []) {
          connections[row.orgConnectionId] = row;
          this.seen.add(row.orgConnectionId);
        }
        break;
      case "snapshotEnd":
        // What the snapshot has not told is no longer there.
        for (const id of Object.keys(connections)) if (!this.seen.has(id)) delete connections[id];
        break;
      case "changeBatch":
        for (const { effect, connection } of message.changeBatch?.changes ?? []) {
          if (effect === "EFFECT_LEFT") delete connections[connection.orgConnectionId];
          else connections[connection.orgConnectionId] = connection;
          console.log(connection.orgConnectionId, connection.version);
        }
    }
    this.held.token = message.resumeToken;
    this.write();
  }

  // All of it, or nothing.
  private write(): void {
    writeFileSync(`${this.path}.new`, JSON.stringify(this.held));
    renameSync(`${this.path}.new`, this.path);
  }
}

// Until the stream ends: how long to wait before the next, if cleat has said so, in ms.
async function watchOnce(address: string, table: Table): Promise<number> {
  const client = new ConnectionService(address, credentials.createInsecure());
  const start = table.token ? { resumeToken: table.token } : { snapshot: true };
  const stream: Stream = client.watchConnections({ start, kinds: ["WATCH_KIND_CONNECTION"] });
  // Heartbeats come when nothing else does: silence means that nobody is there.
  const watchdog = setTimeout(() => stream.cancel(), 3 * HEARTBEAT);
  try {
    for await (const message of stream as AsyncIterable<Message>) {
      watchdog.refresh();
      table.take(message);
      if (message.message === "goingAway") {
        const { seconds, nanos } = message.goingAway?.reconnectAfter ?? { seconds: "0", nanos: 0 };
        return Number(seconds) * 1000 + nanos / 1e6;
      }
    }
    return 0;
  } finally {
    clearTimeout(watchdog);
    client.close();
  }
}

async function watch(address: string, table: Table): Promise<never> {
  for (let failures = 0; ; ) {
    const before = table.token;
    let wait = 0;
    try {
      wait = await watchOnce(address, table);
    } catch (error) {
      const { code, metadata } = error as ServiceError;
      if (typeof code !== "number" || FATAL.includes(code)) throw error;
      // Another log, other rules for states, or a change that no message can hold: start with a snapshot.
      const details = metadata.get("grpc-status-details-bin");
      if (code === status.FAILED_PRECONDITION || details.some((it) => it.includes("CHANGE_TOO_LARGE"))) {
        table.forgetToken();
      }
    }
    failures = table.token === before ? failures + 1 : 0;
    await sleep(wait || (0.5 + Math.random() / 2) * Math.min(100 * 2 ** failures, 30_000));
  }
}

const [address, path] = process.argv.slice(2);
if (!address || !path) throw new Error("usage: watch.js ADDRESS FILE");
watch(address, new Table(path));
