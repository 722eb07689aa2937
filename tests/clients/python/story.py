"""A story of ten patients that reads like production: what Fasten sends of them, in the order of arrival.

Data only; knows nothing of the daemon but the words for how a delivery ends.
"""

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import cast
from cast import ADA, BEN, CHIDI, DORA, EMIL, FATIMA, GORAN, HANA, INES, JONAS, Patient, json_lines, link, uid, when

CONNECTED = "patient.connection_success"
REVOKED = "patient.authorization_revoked"
EXPORTED = "patient.ehi_export_success"
FAILED = "patient.ehi_export_failed"
UNKNOWN = "patient.connection_refreshed"
WANTED = "patient.request_health_system"
SUPPORT = "patient.request_support"
TEST = "webhook.test"


@dataclass(frozen=True)
class Delivery:
    """One POST, and what the questions call it."""

    name: str
    message_id: str
    body: bytes
    endpoint: str
    secrets: tuple[str, ...]
    # How long before it comes it was signed.
    signed_ago: timedelta = timedelta()
    # How it ends, in the metric's words.
    outcome: str = "accepted"


# What comes at once.
Burst = list[Delivery]
Data = dict[str, Any]


def event(name: str, kind: str, data: Data, **how: Any) -> Delivery:
    """`how`: another date, api_mode (or none) or id than usual, a flat body, and all that a delivery has."""
    endpoint = how.pop("endpoint", cast.LIVE)
    envelope = {
        "api_mode": how.pop("api_mode", "live"),
        "date": how.pop("date", when()),
        "id": how.pop("id", uid(name)),
        "type": kind,
    }
    envelope = {field: value for field, value in envelope.items() if value is not None}
    fields = data if how.pop("flat", False) else {"data": data}
    body = json.dumps(envelope | fields).encode()
    return plain(name, body, "msg_" + envelope["id"], endpoint=endpoint, **how)


def plain(name: str, body: bytes, message_id: str, *, endpoint: str = cast.LIVE, **how: Any) -> Delivery:
    secrets = how.pop("secrets", (cast.SIGNING[endpoint],))
    return Delivery(name, message_id, body, endpoint, secrets, **how)


def again(first: Delivery, name: str, **how: Any) -> Delivery:
    """Fasten tries again: with the same id, another date, and so another signature."""
    body = json.dumps(json.loads(first.body) | {"date": when(seconds=5)}).encode()
    return replace(first, name=name, body=body, outcome="duplicate", **how)


def connects(name: str, who: Patient, told: Data, at: int = 0, status: str = "authorized", **how: Any) -> Delivery:
    data = {"org_connection_id": who.connections[at], "connection_status": status, "platform_type": who.platforms[at]}
    return event(name, CONNECTED, data | {"external_id": who.external_id} | told, **how)


def revoked(name: str, who: Patient, at: int = 0, **how: Any) -> Delivery:
    data = {"org_connection_id": who.connections[at], "connection_status": "revoked"}
    return event(name, REVOKED, data | {"platform_type": who.platforms[at]}, **how)


def exported(name: str, who: Patient, told: Data, number: int = 0, **how: Any) -> Delivery:
    """With one link, unless others are told. What is told as None is left out."""
    export = who.exports[number]
    usual = {"org_connection_id": who.connection, "task_id": export, "org_id": cast.ORGANISATION}
    data = usual | {"download_links": [json_lines(export, "all.jsonl")]} | told
    return event(name, EXPORTED, {field: value for field, value in data.items() if value is not None}, **how)


def failed(name: str, who: Patient, reason: str, at: int = 0, **how: Any) -> Delivery:
    """As many exports as facilities: each has its own."""
    data = {"org_connection_id": who.connections[at], "task_id": who.exports[at], "org_id": cast.ORGANISATION}
    return event(name, FAILED, data | {"failure_reason": reason}, **how)


def after_an_outage() -> list[Burst]:
    """An operator sends again what stands in Fasten's delivery logs."""
    proof = {"request_id": uid("goran's proof"), "scope": "patient/*.read"}
    facilities = range(len(GORAN.connections))
    return [
        [connects("chidi connects", CHIDI, cast.CHIDI_TOLD, date=when(hours=-72))],
        [connects(f"goran connects at {it}", GORAN, proof, it, date=when(hours=-72)) for it in facilities],
        [revoked("chidi's consent ends", CHIDI, date=when(hours=-40))],
    ]


def a_busy_morning() -> list[Burst]:
    ada = connects("ada connects", ADA, cast.ADA_TOLD | {"patient_auth_type": "smart_on_fhir"}, secrets=(cast.OLD,))
    dora = {"download_links": None, "download_link": {"url": link(DORA.export, "dora.jsonl")}}
    facilities = range(len(FATIMA.connections))
    return [
        [ada],
        [again(ada, "ada connects, again", secrets=(cast.NEW,))],
        [connects("ben connects", BEN, {})],
        [connects(f"fatima connects at {it}", FATIMA, cast.fatima_told(it), it) for it in facilities],
        [exported("hana's first export", HANA, {})],
        [exported("hana's second export", HANA, nameless(HANA.exports[1]), 1)],
        [exported("ada's export", ADA, {"stats": cast.STATS}, secrets=(cast.NEXT, cast.OLD))],
        [connects("dora connects", DORA, {})],
        [exported("dora's export", DORA, dora)],
        [connects("emil connects", EMIL, {})],
        [failed("emil's export fails", EMIL, "token_refresh_failure")],
    ]


def nameless(export: str) -> Data:
    """As exports were told of in 2024."""
    return {"org_connection_id": None, "download_links": None, "download_link": link(export, "file.jsonl")}


def elsewhere() -> list[Burst]:
    """Another customer, and trials: with Ada's ids of connection and task, and once with an event's id of hers."""
    summit: Data = {"endpoint": cast.ANY}
    trial: Data = {"endpoint": cast.TEST, "api_mode": "test"}
    return [
        [exported("jonas's export", JONAS, {"org_id": uid("summit")}, id=uid("ada's export"), **summit)],
        [connects("jonas's trial", JONAS, {}, api_mode="test", **summit)],
        [connects("a trial of ada's", ADA, {"external_id": "a developer"}, status="revoked", **trial)],
        [failed("a trial of ada's export", ADA, "tefca_no_documents_found", **trial)],
    ]


def an_eventful_afternoon() -> list[Burst]:
    ada = again(a_busy_morning()[0][0], "ada connects, once more", secrets=(cast.NEW,))
    fatima = {"download_links": cast.FATIMA_LINKS, "download_link": cast.FATIMA_LINKS[0]["url"]}
    refreshed = {"org_connection_id": ADA.connection, "refreshed": [1, None]}
    hana = {"request_id": "", "request-id": cast.HANA_REQUEST, "consent_expires_at": when(hours=20)}
    facilities = range(len(GORAN.connections))
    return [
        [ada],
        [connects("hana connects", HANA, hana)],
        [exported("hana's second export, named", HANA, {"download_links": None}, 1)],
        [exported("ada's export, anew", ADA, {"download_links": [json_lines(ADA.export, "anew.jsonl")]})],
        [revoked("ben's authorisation ends", BEN, flat=True)],
        [exported("ben's export", BEN, {})],
        [failed("dora's export fails", DORA, "token_refresh_failure")],
        [connects("emil connects anew", EMIL, {}, api_mode=None)],
        [connects("chidi reconnects", CHIDI, cast.CHIDI_TOLD_ANEW | {"external_id": "", "scope": ""})],
        [revoked(f"goran's authorisation ends at {it}", GORAN, it) for it in facilities],
        [exported("fatima's export", FATIMA, fatima)],
        [failed("fatima's export fails", FATIMA, "tefca_no_documents_found", 1)],
        *ines(),
        [event("ada's connection is refreshed", UNKNOWN, refreshed)],
    ]


def ines() -> list[Burst]:
    """What happened last to her first connection comes first."""
    before = {"request_id": uid("ines's attempt before"), "external_state": "attempt-3"} | cast.CATALOGUE
    return [
        [connects("ines connects", INES, cast.INES_TOLD | {"external_id": ""})],
        [connects("ines had connected before", INES, before, date=when(hours=-40))],
        [revoked("ines's consent had ended", INES, date=when(hours=-30))],
        [connects("ines is rejected", INES, {}, 1, status="rejected")],
        [connects("ines is found", INES, {}, 2, status="connected")],
    ]


def odd_mail() -> list[Burst]:
    """What is refused, and what is taken and changes no connection."""
    ada = {"org_connection_id": ADA.connection}
    modeless = event(
        "somebody at summit", REVOKED, ada, endpoint=cast.ANY, api_mode=None, outcome="accepted_mode_unknown"
    )
    forged = revoked("forged", ADA, secrets=(cast.SIGNING[cast.TEST],), outcome="signature_mismatch")
    stale = revoked("replayed", ADA, signed_ago=timedelta(hours=1), outcome="stale_timestamp")
    lost = revoked("lost", ADA, secrets=(cast.NEW,))
    return [
        [event("a wanted clinic", WANTED, cast.WANTED_CLINIC)],
        [event("a call for support", SUPPORT, cast.CALL_FOR_SUPPORT)],
        [plain("an unreadable body", b'{"type":"patient.connection_success","data":{', "msg_unreadable")],
        [forged],
        [stale],
        [replace(lost, endpoint="nowhere", outcome="unknown_endpoint")],
        [revoked("a trial on the live endpoint", ADA, api_mode="test", outcome="accepted_mode_mismatch")],
        [modeless],
        *([it] for it in simulated(endpoint=cast.TEST, api_mode="test")),
    ]


def simulated(**how: Any) -> Burst:
    """Of Fasten's simulator, where a developer types what he likes."""
    empty = dict.fromkeys(("connection_status", "platform_type", "request_id", "external_id", "scope"), "")
    ids = cast.SIMULATED
    export = ids | {"download_link": link("simulated", "file.jsonl")}
    return [
        event("a test", TEST, {"hello": "world", "random": "12345"}, **how),
        event("a simulated export", EXPORTED, export, id="simulated-1", **how),
        event("a simulated connection", CONNECTED, empty | {"org_connection_id": ids["org_connection_id"]}, **how),
        event("an empty connection", CONNECTED, empty | {"org_connection_id": ""}, **how),
    ]


# The daemon is killed in between, at noon.
MORNING = [*after_an_outage(), *elsewhere(), *a_busy_morning()]
NOON = MORNING[-1][-1].name
AFTERNOON = [*an_eventful_afternoon(), *odd_mail()]
