"""README's commands for curl and grpcurl do what they say. `buf curl` stands in for grpcurl: both ask reflection."""

import base64
import json
import re
import shlex
import subprocess

from case import DaemonCase
from daemon import ROOT, SECRET


class Readme(DaemonCase):
    def test_curl_posts_a_signed_webhook_and_grpcurl_gets_and_watches_its_connection(self) -> None:
        blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        (block,) = [block for block in blocks if "openssl" in block]
        post, get, watch = block.split("grpcurl -plaintext ")

        answer = self.shell(post)
        self.assertIn("HTTP/1.1 200 OK", answer)
        self.assertFalse(json.loads(answer.splitlines()[-1])["duplicate"])
        with self.grpcurl(get) as asked:
            assert asked.stdout
            self.assertEqual(json.load(asked.stdout)["connection"]["orgConnectionId"], "conn-2")
        with self.grpcurl(watch) as asked:
            assert asked.stdout
            self.assertIn("conn-2", next(line for line in asked.stdout if "orgConnectionId" in line))
            asked.kill()

        (block,) = [block for block in blocks if "ListConnectionEvents" in block]
        _, history, as_of = block.replace("conn-1", "conn-2").split("grpcurl -plaintext ")
        with self.grpcurl(history) as asked:
            assert asked.stdout
            (event,) = json.load(asked.stdout)["events"]
            self.assertEqual(event["connection"]["orgConnectionId"], "conn-2")
        with self.grpcurl(as_of) as asked:
            assert asked.stdout
            self.assertEqual(json.load(asked.stdout)["position"], "1")

    def shell(self, script: str) -> str:
        """With this daemon's address and secret in place of the built-in ones."""
        secret = base64.b64decode(SECRET.removeprefix("whsec_")).decode()
        script = script.replace("127.0.0.1:7480", self.daemon.webhooks)
        script = script.replace("cleat-development-only-secret-00", secret)
        return subprocess.run(["bash", "-euc", script], check=True, capture_output=True, text=True).stdout

    def grpcurl(self, arguments: str) -> subprocess.Popen[str]:
        data, request, _, method = shlex.split(arguments)
        url = f"http://{self.daemon.grpc}/{method}"
        command = ["buf", "curl", "--protocol", "grpc", "--http2-prior-knowledge", data, request, url]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
