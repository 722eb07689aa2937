"""What operators do when webhooks were missed, came wrong, or came twice with other words; and who was last, or is next."""

import base64
import json
from dataclasses import replace
from typing import Any, ClassVar

import cast
import story
from case import ADMIN, CONNECTIONS, EVENTS, EXPORTS
from cast import ADA, DORA, EMIL, HANA, HARBOR, LIVE, when
from reflection import told
from storyteller import TenPatients

HARBOR_TEST = {"tenant": HARBOR, "api_mode": "API_MODE_TEST"}
TRIAL = "a trial on the live endpoint"


class Missed(TenPatients):
    def import_logs(self, *payloads: bytes, **how: object) -> dict[str, Any]:
        request = {"tenant": HARBOR, "endpoint": LIVE} | how
        request["payloads"] = [base64.b64encode(payload).decode() for payload in payloads]
        answer = told(self.api.upload(ADMIN + "ImportEvents", request))
        return {field: answer[field] for field in ("imported", "duplicates", "conflicts", "refused")}

    def test_which_duplicates_contradict_what_is_known(self) -> None:
        first = self.deliveries["dora connects"]
        body = json.loads(first.body)
        body["data"]["external_id"] = "somebody else"
        answer = self.send(replace(first, body=json.dumps(body).encode()))
        taken = self.taken["dora connects"]
        # The token of a duplicate is of a later point.
        self.assertEqual(answer.body | {"token": taken["token"]}, taken | {"duplicate": True})
        parts = self.api.stream(EVENTS + "ReadEvents", {"tenant": HARBOR, "filter": {"conflicting": True}})
        (kept,) = (event for part in parts for event in part.events)
        self.assertEqual((kept.conflict_of, json.loads(kept.body)), (self.position("dora connects"), body))
        self.assertEqual(self.connections(external_ids=["somebody else"]), {})
        self.assertEqual(self.connections(external_ids=[DORA.external_id]).keys(), {DORA.connection})

    def test_what_did_an_outage_cost(self) -> None:
        logs = [it.body for it in self.deliveries.values() if it.endpoint == LIVE and it.outcome == "accepted"]
        # Fasten's portal shows an unreadable body as it was: that is no payload.
        logs = [body for body in logs if body != self.deliveries["an unreadable body"].body]
        missed = [
            story.revoked("a revocation before the outage", ADA, date=when(days=-3)),
            story.exported("an export in the outage", EMIL, {}, 1, date=when(hours=-6)),
        ]
        payloads = [*logs, *(it.body for it in missed), b'{"hello":"world"}']
        known = {"imported": "0", "duplicates": str(len(logs)), "conflicts": "0", "refused": "1"}
        expected = known | {"imported": "2"}
        before = self.head()
        self.assertEqual(self.import_logs(*payloads, dry_run=True), expected)
        self.assertEqual(self.head(), before, "a dry run leaves nothing")
        self.assertEqual(self.import_logs(*payloads), expected)
        again = known | {"duplicates": str(len(logs) + len(missed))}
        self.assertEqual(self.import_logs(*payloads), again)

        (ada,) = self.connections(external_ids=[ADA.external_id]).values()
        self.assertEqual(ada["status"], "CONNECTION_STATUS_AUTHORIZED", "what is old overturns nothing")
        request = {"tenant": HARBOR, "org_connection_id": ADA.connection, "page_size": 1}
        (newest,) = self.api.call(CONNECTIONS + "ListConnectionEvents", request).events
        self.assertEqual((newest.late, newest.type), (True, story.REVOKED))
        export = told(self.ask(EXPORTS + "GetExport", task_id=EMIL.exports[1]).export)
        self.assertEqual((export["status"], export["deadline"]), ("EXPORT_STATUS_READY", when(hours=18)))
        event = told(self.event(int(export["last_position"]), HARBOR))
        self.assertEqual((event["provenance"], event["secret_label"]), ("PROVENANCE_IMPORT", ""))

    def test_what_changed_last(self) -> None:
        rows = self.connections()
        newest = sorted(rows.values(), key=lambda row: -int(row["last_position"]))
        page = self.ask(CONNECTIONS + "ListConnections", order_by="last_recorded_at desc", page_size=3)
        self.assertEqual([told(it) for it in page.connections], newest[:3])

    def test_whose_consent_ends_first(self) -> None:
        page = self.ask(CONNECTIONS + "ListConnections", order_by="consent_expires_at", page_size=2)
        first = [it.external_id for it in page.connections]
        self.assertEqual(first, [HANA.external_id, cast.INES.external_id])

    def test_which_links_die_first(self) -> None:
        wanted = {"deadline_within": "172800s", "external_ids": [ADA.external_id, DORA.external_id, HANA.external_id]}
        page = self.ask(EXPORTS + "ListExports", order_by="deadline", filter=wanted)
        tasks = [it.task_id for it in page.exports]
        # In the order in which they were first heard of; Dora's failed later.
        self.assertEqual(tasks, [*HANA.exports, ADA.export])


class Mended(TenPatients):
    # As it is once the operator has mended the configuration.
    mended: ClassVar[dict[str, Any]] = cast.ENDPOINTS | {LIVE: replace(cast.ENDPOINTS[LIVE], api_mode="any")}

    def test_what_came_to_the_wrong_endpoint_is_applied_once_the_endpoint_takes_it(self) -> None:
        (trial,) = self.events(mismatched=True).values()
        self.assertEqual(trial.position, self.position(TRIAL))
        request = {"tenant": HARBOR, "positions": [trial.position]}
        (refused,) = self.api.call(ADMIN + "ReadmitEvents", request).events
        self.assertEqual((refused.applied_position, refused.problem != ""), (0, True))
        version = int(self.connections(HARBOR_TEST)[ADA.connection]["version"])

        self.daemon.terminate()
        self.assertEqual(self.daemon.exit_code(), 0)
        type(self).endpoints = self.mended
        self.start()
        (applied,) = self.api.call(ADMIN + "ReadmitEvents", request).events
        self.assertEqual((applied.duplicate, applied.problem), (False, ""))
        (again,) = self.api.call(ADMIN + "ReadmitEvents", request).events
        self.assertEqual((again.applied_position, again.duplicate), (applied.applied_position, True))
        row = self.connections(HARBOR_TEST)[ADA.connection]
        self.assertEqual(row["version"], str(version + 1))
        self.assertEqual(row["last_position"], str(applied.applied_position))
        # Fasten's retry of it is a duplicate from now on.
        retried = self.send(self.deliveries[TRIAL])
        self.assertEqual((retried.body["position"], retried.body["duplicate"]), (applied.applied_position, True))
