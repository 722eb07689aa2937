"""Read tokens: whoever has written reads it, and no other log's token passes for its own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import grpc

import bodies
from case import CONNECTIONS, EVENTS, DaemonCase
from reflection import Fields

GET = CONNECTIONS + "GetConnection"


def status_change(event_id: str, status: str) -> bytes:
    data = bodies.CONNECTED | {"connection_status": status}
    return bodies.body("patient.connection_success", event_id, data)


def fresh_as(token: str, max_wait: str = "30s") -> Fields:
    consistency = {"at_least_as_fresh": token, "max_wait": max_wait}
    return {"org_connection_id": bodies.CONNECTION, "consistency": consistency}


class ReadYourWrite(DaemonCase):
    def test_the_token_of_a_webhooks_answer_reads_what_it_wrote(self) -> None:
        for number in range(100):
            status = ("authorized", "rejected", "revoked")[number % 3]
            taken = self.post(f"write_{number}", status_change(f"write-{number}", status))
            answer = self.api.call(GET, fresh_as(taken["token"]))
            connection = answer.connection
            told = (connection.reported_status, connection.version, connection.last_position, answer.position)
            self.assertEqual(told, (status, number + 1, taken["position"], taken["position"]))
            # An answer's own token says the same, and so does that of the event.
            event = self.api.call(EVENTS + "GetEvent", {"position": taken["position"]})
            self.assertEqual((answer.read_token, event.read_token), (taken["token"], taken["token"]))


class OtherLogs(DaemonCase):
    def test_a_token_of_another_log_is_refused(self) -> None:
        self.post("here", status_change("here", "authorized"))
        here = self.api.call(EVENTS + "GetHead").read_token
        self.stop_and(shutil.rmtree)
        self.post("there", status_change("there", "authorized"))
        with self.assertRefused(grpc.StatusCode.FAILED_PRECONDITION, "LOG_EPOCH_CHANGED"):
            self.api.call(GET, fresh_as(here))

    def test_a_log_that_lost_events_refuses_the_tokens_of_these(self) -> None:
        self.post("kept", status_change("kept", "authorized"))
        copy = self.directory / "copy"
        self.stop_and(lambda data: shutil.copytree(data, copy))
        lost = self.post("lost", status_change("lost", "revoked"))["token"]

        def restore(data: Path) -> None:
            shutil.rmtree(data)
            copy.rename(data)

        self.stop_and(restore)
        with self.assertRefused(grpc.StatusCode.UNAVAILABLE, "STALE_READ"):
            self.api.call(GET, fresh_as(lost, max_wait="0.1s"))
        self.post("instead", status_change("instead", "revoked"))
        with self.assertRefused(grpc.StatusCode.FAILED_PRECONDITION, "LOG_EPOCH_CHANGED"):
            self.api.call(GET, fresh_as(lost))

    def stop_and(self, change: Callable[[Path], object]) -> None:
        """Does something to the data of the ended daemon, and starts it again."""
        self.api.close()
        self.daemon.terminate()
        self.assertEqual(self.daemon.exit_code(), 0)
        change(self.directory / "data")
        self.start()
