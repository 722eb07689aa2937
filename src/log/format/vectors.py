#!/usr/bin/env python3
"""Makes vectors.txt: the format as another implementation writes it, from record-format alone.

    pip install cryptography zstandard && python3 src/log/format/vectors.py > src/log/format/vectors.txt

A number that is given out keeps its bytes: what is made again must be equal to what is there, but for the zstd frames.
"""

import hashlib
import struct
import uuid
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

LOG_ID = 7
UNIX = 1_790_000_000
I64_MIN = -(2**63)
ORGANISATION = uuid.UUID("d0000000-0000-4000-8000-000000000014")
ENVELOPE = uuid.UUID("3f0c1f0e-7a58-4f0e-9a0b-2f2b8a1d0c03")
CONNECTION = uuid.UUID("a1b2c3d4-0000-4000-8000-000000000001")
TASK = uuid.UUID("00c9aa11bb22cc33dd44ee55ff660077")
SIGNATURE = bytes(range(32))
NAMES = (b"acme", b"fasten", b"1")


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def zigzag(value: int) -> int:
    return (value << 1) ^ (value >> 63)


def text(value: bytes) -> bytes:
    return varint(len(value)) + value


def entrance(organisation: bytes) -> bytes:
    return b"".join(bytes([len(name)]) + name for name in NAMES) + organisation


def start_of_header(*, mode, disposition, kind, flags, codec, subject, seconds, organisation, commitment=b""):
    fixed = struct.pack(">BBBBHBBHIq", 2, 1, mode, disposition, kind, flags, codec, 1, subject, seconds)
    return fixed + entrance(organisation) + commitment


def compressed(data: bytes) -> bytes:
    dictionary = zstandard.ZstdCompressionDict((Path(__file__).parent / "dictionary1.bin").read_bytes())
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False, write_dict_id=False, write_checksum=False
    )
    return zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress(data)


def q_of_odd() -> bytes:
    """Nothing about it is usual: verbatim timestamp, signature, key; a body that is not packed."""
    body = b"\x02\xff\x00not packed"
    return bytes([64]) + text(b"v1,x") + text(b"+5") + text(b"sha:k") + varint(3) + varint(3 + len(body)) + b"m-1" + body


def body_of_usual() -> bytes:
    return (
        f'{{"api_mode":"live","date":"2026-09-21T14:13:21Z","id":"{ENVELOPE}","type":"patient.ehi_export_success",'
        f'"data":{{"download_links":[{{"url":"https://api.connect.fastenhealth.com/v1/bridge/fhir/ehi-export/{TASK.hex}'
        f'/download/x.jsonl","export_type":"jsonl"}}],"org_connection_id":"{CONNECTION}","task_id":"{TASK.hex}",'
        f'"org_id":"{ORGANISATION}","stats":{{"total_resources":42}}}}}}'
    ).encode()


def q_of_usual() -> bytes:
    date = 1_790_000_001
    packed = (str(ENVELOPE).encode() + body_of_usual()).replace(b"2026-09-21T14:13:21Z", b"\x05")
    packed = packed.replace(str(ORGANISATION).encode(), b"\x04")
    for number, (written, first, again) in enumerate(
        [(str(ENVELOPE), 1, 0x10), (TASK.hex, 2, 0x18), (str(CONNECTION), 1, 0x10)]
    ):
        packed = packed.replace(written.encode(), bytes([first]), 1).replace(written.encode(), bytes([again + number]))
    ids = ENVELOPE.bytes + TASK.bytes + CONNECTION.bytes
    head = bytes([1 | 4 | 8 | 16 | 32]) + varint(zigzag(date - UNIX)) + SIGNATURE + bytes([3]) + ids
    return head + varint(36) + varint(len(packed)) + compressed(packed)


def main() -> None:
    odd_q, usual_q = q_of_odd(), q_of_usual()
    no_organisation, organisation = bytes(16), ORGANISATION.bytes
    # A stored key, as an array of random keys would hold it; both uses are expanded from it.
    stored_key, nonce = sha(b"a stored key"), sha(b"a nonce")[:12]
    expanded = {label: HKDFExpand(SHA256(), 32, label).derive(stored_key) for label in (b"encrypt", b"commit")}
    of_usual = {"mode": 1, "disposition": 1, "kind": 2, "seconds": UNIX, "organisation": organisation}
    of_odd = {"mode": 0, "disposition": 2, "kind": 0, "seconds": I64_MIN, "organisation": no_organisation}
    starts = {
        "odd": start_of_header(**of_odd, flags=1, codec=0, subject=0),
        "usual": start_of_header(**of_usual, flags=1, codec=0, subject=0),
        "subject": start_of_header(**of_usual, flags=3, codec=0, subject=9, commitment=expanded[b"commit"]),
        "encrypted": start_of_header(**of_usual, flags=1, codec=1, subject=9),
    }
    ad = b"cleat record 2" + LOG_ID.to_bytes(16, "big") + starts["encrypted"]
    privates = {
        "odd": bytes([1] * 16) + odd_q,
        "usual": bytes([2] * 16) + usual_q,
        "subject": bytes([3] * 16) + usual_q,
        "encrypted": nonce + AESGCM(expanded[b"encrypt"]).encrypt(nonce, usual_q, ad),
    }
    # How each record is stored: form, private bytes; the last two are those of the first again.
    stored = [("odd", 0), ("usual", 0), ("subject", 0), ("encrypted", 0), ("odd", 1), ("usual", 2)]
    conflicts = {3: 2}

    def show(name: str, value: bytes) -> None:
        print(f"{name} {value.hex()}")

    print("# Test vectors of the record format, in hex. Made by vectors.py, which is another implementation.")
    print("# Keys are HKDF-Expand-SHA256(stored key, label): the AES key of \"encrypt\", the commitment of \"commit\".")
    show("log-id", LOG_ID.to_bytes(16, "big"))
    show("odd-body", b"\x02\xff\x00not packed")
    show("usual-body", body_of_usual())
    show("stored-key", stored_key)
    show("nonce", nonce)
    show("associated-data", ad)
    show("encrypted-q", usual_q)
    for name in starts:
        digest = sha(privates[name])
        show(f"{name}-private", privates[name])
        show(f"{name}-header", starts[name] + digest)
        show(f"{name}-content", sha(starts[name] + digest))

    chain = before = sha(b"cleat log 2" + LOG_ID.to_bytes(16, "big"))
    show("genesis", before)
    for position, (name, _) in enumerate(stored, 1):
        content = sha(starts[name] + sha(privates[name]))
        recorded_at = UNIX * 1_000_000 + position
        chain = sha(chain + struct.pack(">QqQ", position, recorded_at, conflicts.get(position, 0)) + content)
        show(f"chain-{position}", chain)
    show("frame", frame(stored, starts, privates, conflicts, before, chain))


def frame(stored, starts, privates, conflicts, before, after) -> bytes:
    count, first_at = len(stored), UNIX * 1_000_000 + 1
    headers = [starts[name] for name, _ in stored]
    clear = [name == "odd" for name, _ in stored]
    forms = [form for _, form in stored]
    kept = [{0: privates[name], 1: b"", 2: b"sealed again"}[form] for name, form in stored]
    subjects = [struct.unpack(">I", header[10:14])[0] for header in headers]
    marks = [
        header[6] | (4 if odd else 0) | (8 if position in conflicts else 0) | (16 if subject else 0)
        for position, (header, odd, subject) in enumerate(zip(headers, clear, subjects), 1)
    ]
    columns = bytes([1]) + entrance(bytes(16)) + entrance(ORGANISATION.bytes)
    columns += bytes(0 if odd else 1 for odd in clear)
    for at in (1, 2, 3):
        columns += bytes(header[at] for header in headers)
    columns += b"".join(header[4:6] for header in headers) + bytes(marks)
    columns += bytes(header[7] for header in headers) + b"".join(header[8:10] for header in headers) + bytes(forms)
    columns += varint(0) + b"".join(varint(1) for _ in headers[1:])
    columns += b"".join(varint(zigzag(0)) for odd in clear if not odd)
    columns += b"".join(varint(len(private)) for private in kept)
    columns += b"".join(varint(first) for _, first in sorted(conflicts.items()))
    columns += b"".join(struct.pack(">I", subject) for subject in subjects if subject)
    columns += b"".join(header[-32:] for header in headers if header[6] & 2)
    columns += b"".join(sha(privates[name]) for name, form in stored if form)
    private = b"".join(kept)
    head = struct.pack(">BBIQqq", 2, 0, count, 1, first_at, first_at + count - 1) + before + after
    head += struct.pack(">IIIQI", len(columns), len(columns), len(private), 0, 0)
    return head + struct.pack(">I", crc32c(head + columns + private)) + columns + private


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


if __name__ == "__main__":
    main()
