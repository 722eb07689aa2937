"""The examples of docs/clients, set up by its own commands, miss nothing: whatever ends, they or the daemon, and however."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import bodies
from case import CONNECTIONS, DaemonCase
from daemon import ROOT, until

CLIENTS = ROOT / "docs" / "clients"
EVENTS = 400


def commands(client: str) -> list[str]:
    """Those of its chapter: all that set it up, and at last the one that runs it."""
    chapter = (CLIENTS / "README.md").read_text().partition(f"## {client}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    return block.strip().splitlines()


class Client:
    """One that runs, over a file of its own."""

    def __init__(self, name: str, directory: Path, address: str) -> None:
        self.file = directory / name
        self._command = commands(name)[-1].replace("127.0.0.1:7481", address)
        self._command = self._command.replace("connections.db", str(self.file)).replace("connections.json", str(self.file))
        self._output = directory / f"{name}.out"
        self.start()

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(["bash", "-c", f"exec env {self._command}"], cwd=ROOT, stdout=output)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        self._process.send_signal(how)
        self._process.wait()

    def told(self) -> dict[str, list[int]]:
        """The versions that it was told, of each connection, in order."""
        versions = defaultdict(list)
        for line in self._output.read_text().splitlines():
            connection, version = line.split()
            versions[connection].append(int(version))
        return versions

    def rows(self) -> dict[str, int]:
        """The version of each connection that it holds."""
        assert self._process.poll() is None, "it ended"
        if not self.file.exists():
            return {}
        if self.file.name == "TypeScript":
            held = json.loads(self.file.read_text())["connections"]
            return {row["orgConnectionId"]: int(row["version"]) for row in held.values()}
        # Whoever opens it after a kill, reader or not, rolls back what was not committed.
        with closing(sqlite3.connect(self.file, timeout=10)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'connections'").fetchone():
                return {}
            return dict(database.execute("SELECT id, version FROM connections").fetchall())


class Clients(DaemonCase):
    names: ClassVar[tuple[str, str]] = ("Python", "TypeScript")

    @classmethod
    def setUpClass(cls) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            cls.grpc_address = "{}:{}".format(*free.getsockname())
        super().setUpClass()
        for name in cls.names:
            for command in commands(name)[:-1]:
                subprocess.run(["bash", "-euc", command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    def setUp(self) -> None:
        self.clients = [Client(name, self.directory, self.grpc_address) for name in self.names]
        for client in self.clients:
            self.addCleanup(client.stop)

    def assertSame(self) -> None:
        """Each comes to hold what the daemon lists."""
        listed = {key: int(row["version"]) for key, row in self.rows(CONNECTIONS + "ListConnections").items()}
        self.assertGreater(len(listed), 10)
        for client in self.clients:
            until(f"{client.file.name} holds all", lambda client=client: client.rows() == listed)

    def end_daemon(self, number: int) -> None:
        self.api.close()
        if number % 2:
            self.daemon.kill()
        else:
            self.daemon.terminate()
            self.assertEqual(self.daemon.exit_code(), 0)

    def test_each_holds_what_is_there_through_kills_and_stops_and_another_log(self) -> None:
        events = list(bodies.volume(EVENTS))
        self.post("first", bodies.body("patient.connection_success", "first", bodies.CONNECTED))
        for client in self.clients:
            until(f"{client.file.name} watches", client.rows)
        for number, (event_id, body) in enumerate(events[: EVENTS // 2]):
            self.post(event_id, body)
            if number % 40 == 39:
                self.end_daemon(number // 40)
                self.start()
        self.assertSame()
        for client in self.clients:
            # From the first change on, each of a connection's changes came, once.
            self.assertGreater(sum(map(len, client.told().values())), EVENTS // 8)
            for connection, versions in client.told().items():
                self.assertEqual(versions, list(range(versions[0], versions[0] + len(versions))), connection)

        for number, (event_id, body) in enumerate(events[EVENTS // 2 :]):
            self.post(event_id, body)
            if number % 40 == 39:
                for client in self.clients:
                    client.stop()
                    client.start()
        self.assertSame()

        self.end_daemon(1)
        shutil.rmtree(self.directory / "data")
        self.start()
        for event_id, body in events[: EVENTS // 4]:
            self.post(event_id, body)
        self.assertSame()
