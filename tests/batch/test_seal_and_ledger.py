"""What a run folder remembers: sealed documents, entries, images set aside."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.batch.ledger import (
    Entry,
    ImageEntry,
    LineLedger,
    SqliteLedger,
    all_entries,
    all_quarantined,
    open_ledger,
    release_images,
)
from layerscope.batch.seal import digest, seal, unseal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text().filter(lambda k: k != "check"), VALUES, max_size=4)


@given(DOCUMENTS, st.sampled_from([None, 1]))
def test_seal_round_trip(document, indent):
    assert unseal(seal(document, indent=indent)) == document
    assert unseal(seal(document).encode()) == document


@given(DOCUMENTS, st.data())
def test_no_flipped_bit_passes_for_another_document(document, data):
    content = bytearray(seal(document).encode())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unseal(bytes(content))
    except ValueError:
        return
    assert found == document  # e.g. the case of a \\u escape


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"check": 1}', '{"a": 1}', "{", "\xff"])
def test_what_is_not_sealed(text):
    with pytest.raises(ValueError, match=r".+"):
        unseal(text)


def test_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def entry(chunk=0, key="key", part="part", stage="find"):
    images = (ImageEntry(chunk, "ok", 10, 20, "aa"), ImageEntry(chunk + 1, "ok", 11, 21, ""))
    return Entry(stage, chunk, key, part, images, 5, {"find": 0.25})


@pytest.fixture(params=["sqlite", "lines"])
def ledger(request, tmp_path):
    made = {
        "sqlite": lambda: SqliteLedger(tmp_path / "ledger.sqlite"),
        "lines": lambda: LineLedger(tmp_path / "ledger" / "driver.jsonl"),
    }[request.param]()
    yield made
    made.close()


def test_last_entry_of_a_place_counts(ledger, tmp_path):
    ledger.record(entry(0))
    ledger.record(entry(0, stage="measure"))
    ledger.record(entry(1))
    ledger.record(entry(0, key="newer"))
    assert ledger.entries() == {
        ("find", 0): entry(0, key="newer"),
        ("measure", 0): entry(0, stage="measure"),
        ("find", 1): entry(1),
    }
    assert all_entries(tmp_path) == {p: [e] for p, e in ledger.entries().items()}


def test_quarantine_and_release(ledger, tmp_path):
    ledger.quarantine(3, "failed_crash")
    ledger.quarantine(3, "failed_timeout")
    ledger.quarantine(9, "failed_crash")
    assert ledger.quarantined() == {3: "failed_timeout", 9: "failed_crash"}
    ledger.release({3, 5})
    assert ledger.quarantined() == all_quarantined(tmp_path) == {9: "failed_crash"}


def test_release_reaches_the_ledgers_of_shards(tmp_path):
    shard, own = open_ledger(tmp_path, shard=(1, 4)), open_ledger(tmp_path)
    shard.quarantine(3, "failed_crash")
    own.quarantine(4, "failed_crash")
    release_images(tmp_path, {3, 4})
    assert all_quarantined(tmp_path) == {}
    own.close()


def test_line_that_a_crash_cut_off_is_passed_over(tmp_path):
    ledger = LineLedger(tmp_path / "ledger" / "shard-0-of-2.jsonl")
    ledger.record(entry(0))
    with (tmp_path / "ledger" / "shard-0-of-2.jsonl").open("a") as stream:
        stream.write("\n" + entry(1).as_json()[:50])
    ledger.record(entry(2))
    assert set(ledger.entries()) == {("find", 0), ("find", 2)}


def test_entry_of_a_later_version_is_work_to_be_done():
    document = unseal(entry().as_json())
    assert Entry.from_json(seal(document)) == entry()
    assert Entry.from_json(seal(document | {"new_field": 1})) is None
    del document["regions"], document["chunk"]
    assert Entry.from_json(seal(document)) is None
    assert Entry.from_json(json.dumps({"check": 1})) is None


def test_no_shared_memory_for_sqlite_means_lines(tmp_path, monkeypatch):
    import sqlite3

    def refuse(path, **_):
        raise sqlite3.OperationalError("locking protocol")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    ledger = open_ledger(tmp_path)
    ledger.record(entry())
    assert all_entries(tmp_path) == {("find", 0): [entry()]}


def test_looking_at_a_missing_ledger(tmp_path):
    assert all_entries(tmp_path) == {}
    assert all_quarantined(tmp_path) == {}
