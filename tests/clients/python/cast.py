"""The cast of the story: two customers with their endpoints, ten patients, and the ids that Fasten gives them.

Data only; knows nothing of what happens to them.
"""

import base64
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daemon import Endpoint

NOW = datetime.now(UTC)


def when(**later: float) -> str:
    """A moment as Fasten writes it, so much later than now."""
    return (NOW + timedelta(**later)).strftime("%Y-%m-%dT%H:%M:%SZ")


def uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://story.test/{name}"))


def _secret(text: str) -> str:
    return "whsec_" + base64.b64encode(text.encode()).decode()


HARBOR, SUMMIT = "harbor", "summit"
LIVE, TEST, ANY = "harbor-live", "harbor-test", "summit-all"
# Harbor is on its way from one secret to the next; of NEXT, it does not know yet.
OLD, NEW, NEXT = (_secret(f"harbor-live-{it}-000000000000") for it in ("2026-03", "2026-09", "2027-03"))
# What Fasten signs with for each endpoint.
SIGNING = {
    LIVE: NEW,
    TEST: _secret("harbor-test-00000000000000000000"),
    ANY: _secret("summit-all-000000000000000000000"),
}
ENDPOINTS = {
    LIVE: Endpoint(HARBOR, "live", {"2026-03": OLD, "2026-09": NEW}),
    TEST: Endpoint(HARBOR, "test", {"trial": SIGNING[TEST]}),
    ANY: Endpoint(SUMMIT, "any", {"only": SIGNING[ANY]}),
}


@dataclass(frozen=True)
class Patient:
    """Whom the customer calls by an id of its own, in whatever form. With each platform, one connection."""

    name: str
    external_id: str
    platforms: tuple[str, ...] = ("epic",)

    @property
    def connections(self) -> list[str]:
        return [uid(f"{self.name} at facility {number}") for number in range(len(self.platforms))]

    @property
    def connection(self) -> str:
        """The only one, or the first."""
        return self.connections[0]

    @property
    def exports(self) -> list[str]:
        """As many as any patient of the story has. Fasten writes the ids of tasks as bare digits."""
        return [uid(f"{self.name}'s export {number}").replace("-", "") for number in range(2)]

    @property
    def export(self) -> str:
        return self.exports[0]


ADA = Patient("ada", "auth0|687a1c2f9e0b44d1")
BEN = Patient("ben", "1842", ("cerner",))
CHIDI = Patient("chidi", "4f1c7a52-90b3-4c1e-8d55-6f0a2b9c7e31")
DORA = Patient("dora", "harbor/dora.lindqvist", ("athenahealth",))
EMIL = Patient("emil", "emil@patients.harbor.example", ("cerner",))
FATIMA = Patient("fatima", "auth0|5d20be7713aa90c4", ("tefca",) * 5)
GORAN = Patient("goran", "2044", ("tefca",) * 8)
HANA = Patient("hana", "hana-7731")
INES = Patient("ines", "d3b8e0f2-1111-4aa2-9f60-2b77c1e50a9d", ("epic", "cerner", "tefca"))
# Summit's. Nowhere is said that the ids of two customers, or of both modes, never meet: his are Ada's.
JONAS = Patient("ada", "summit-10")
PATIENTS = (ADA, BEN, CHIDI, DORA, EMIL, FATIMA, GORAN, HANA, INES, JONAS)

ORGANISATION = uid("harbor")
# Of Fasten's simulator: none of them is a UUID.
SIMULATED = {
    "org_connection_id": "simulated-connection",
    "task_id": "fedec7b78cf6905872032b426473",
    "org_id": "592c0579-443f-a94e-4c8847c0c066",
}

# What Fasten tells of connections and of attempts, by the names that it and the API have for it.
CATALOGUE = {"endpoint_id": uid("endpoint"), "brand_id": uid("brand"), "portal_id": uid("portal")}
ADA_TOLD = CATALOGUE | {
    "request_id": uid("ada's attempt"),
    "external_state": "attempt-77",
    "scope": "openid fhirUser offline_access patient/*.read",
    "consent_expires_at": when(days=30),
}
CHIDI_TOLD = CATALOGUE | {
    "request_id": uid("chidi's first attempt"),
    "external_state": "attempt-12",
    "scope": "patient/*.read",
    "consent_expires_at": when(hours=-41),
}
CHIDI_TOLD_ANEW = {
    "request_id": uid("chidi's second attempt"),
    "external_state": "attempt-78",
    "consent_expires_at": when(days=90),
}
INES_TOLD = {"request_id": uid("ines's attempt"), "external_state": "attempt-80", "consent_expires_at": when(days=7)}
HANA_REQUEST = uid("hana's attempt")
FATIMA_REQUEST = uid("fatima's proof of who she is")


def fatima_told(facility: int) -> dict[str, str]:
    """One proof of who she is, several connections; no ids of the catalogue."""
    return {
        "request_id": FATIMA_REQUEST,
        "external_state": f"vault-{facility}",
        "scope": "patient/*.read",
        "tefca_directory_id": f"urn:oid:2.16.840.1.999999.3.{facility}",
    }


CALL_FOR_SUPPORT = {
    "email": "fatima@patients.example",
    "name": "Fatima",
    "body": "My pharmacy is missing, call 555-0100",
}
WANTED_CLINIC = {
    "email": "ben@patients.example",
    "name": "Nowhere Clinic",
    "website": "https://nowhere.example",
    "street_address": "1 Example Way",
}

# What Fasten says is in Ada's export. The figures need not add up.
STATS = {"total_resources": 12, "total_by_resource_type": {"Patient": 1, "Observation": 300}}


def link(export: str, file: str) -> str:
    return f"https://api.connect.fastenhealth.com/v1/bridge/fhir/ehi-export/{export}/download/{file}"


def json_lines(export: str, file: str) -> dict[str, str]:
    return {"url": link(export, file), "export_type": "jsonl", "content_type": "application/fhir+ndjson"}


FATIMA_LINKS = [
    json_lines(FATIMA.export, "fatima.jsonl"),
    {"url": link(FATIMA.export, "fatima.xml"), "export_type": "ccda", "content_type": "application/xml"},
]
