"""Runs the release binary over a directory: its configuration, its start, its end.

Knows nothing of what it is asked over its ports.
"""

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[3]
BINARY = ROOT / "target" / "release" / "cleat"
TENANT = "clinic"
# Of these tests alone; not the published one.
SECRET = "whsec_cHl0aG9uLWNsaWVudC10ZXN0LXNlY3JldC0wMDAwMDA="
SECRET_LABEL = "python"
PATIENCE_SECONDS = 60.0

T = TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """What an endpoint is configured with. Its secrets have labels."""

    tenant: str
    api_mode: str = "any"
    secrets: Mapping[str, str] = field(default_factory=lambda: {SECRET_LABEL: SECRET})


# By name. Only a tenant: an endpoint of any mode with the secret above.
Endpoints = Mapping[str, str | Endpoint]
ENDPOINTS: Endpoints = {"fasten": TENANT}


def until(what: str, condition: Callable[[], T | None]) -> T:
    """Waits for what must come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


class Daemon:
    """A running cleat, ready for requests."""

    def __init__(
        self,
        directory: Path,
        endpoints: Endpoints = ENDPOINTS,
        grpc_keys: str = "",
        grpc_address: str = "127.0.0.1:0",
    ) -> None:
        self._log = directory / "stderr"
        config = directory / "cleat.toml"
        config.write_text(_config(directory / "data", endpoints, grpc_address, grpc_keys))
        # Levels are the daemon's own: the line with its addresses must be there.
        env = {name: value for name, value in os.environ.items() if name != "RUST_LOG"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [BINARY, "serve", "--trust-clock", "--config", config],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env=env,
            )
        try:
            line = until("the daemon listens", self._listening)
            self.webhooks: str = line["webhooks"]
            self.grpc: str = line["grpc"]
            self.operations: str = line["operations"]
            until("the daemon is ready", self._ready)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> str:
        return self._log.read_text()

    def ask_operations(self, path: str) -> tuple[int, str]:
        """What the operators' port answers: its status, its body."""
        connection = http.client.HTTPConnection(self.operations, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def terminate(self) -> None:
        """As systemd asks it to stop; see `exit_code` for its end."""
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        """Once it has ended by itself."""
        return self._process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """No test leaves a process behind. It may have ended before."""
        self._process.kill()
        self._process.wait()

    def _listening(self) -> dict[str, str] | None:
        assert self._process.poll() is None, f"it ended: {self.log()}"
        # What follows the last line break is still being written.
        whole_lines = self.log().rpartition("\n")[0].splitlines()
        lines = [json.loads(line) for line in whole_lines]
        return next((it for it in lines if it["message"] == "listening"), None)

    def _ready(self) -> bool:
        assert self._process.poll() is None, f"it ended: {self.log()}"
        return self.ask_operations("/readyz")[0] == 200


def _config(data: Path, endpoints: Endpoints, grpc_address: str, grpc_keys: str) -> str:
    sections = "\n".join(_section(name, endpoint) for name, endpoint in endpoints.items())
    return f"""\
[data]
create = true
directory = {json.dumps(str(data))}
[webhooks]
listen = "127.0.0.1:0"
{sections}
[grpc]
listen = {json.dumps(grpc_address)}
{grpc_keys}
[operations]
listen = "127.0.0.1:0"
"""


def _section(name: str, endpoint: str | Endpoint) -> str:
    if isinstance(endpoint, str):
        endpoint = Endpoint(endpoint)
    # A JSON string is a TOML string.
    secrets = ", ".join(
        f"{{ label = {json.dumps(label)}, secret = {json.dumps(secret)} }}"
        for label, secret in endpoint.secrets.items()
    )
    return f"""\
[[webhooks.endpoints]]
name = {json.dumps(name)}
tenant = {json.dumps(endpoint.tenant)}
api_mode = {json.dumps(endpoint.api_mode)}
secrets = [{secrets}]"""
