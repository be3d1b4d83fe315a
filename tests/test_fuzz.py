"""Damaged files, as `fuzz.py` makes them; RFDN_FUZZ=2000 puts so many through."""

import os

import pytest

import fuzz


def test_damaged_files_are_one_line_each(tiny_model):
    """As many as fit into half a minute of one core; each of them was found whole, refused, or made."""
    count = int(os.environ.get("RFDN_FUZZ", "250"))
    findings, codes = fuzz.fuzz(count, tiny_model, limit=120)
    assert not findings, "\n".join(f"{f.name}, seed {f.seed}: {f.what}" for f in findings)
    assert sum(codes.values()) == count
    assert codes[0]
    assert codes[1]


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"code": 0, "made": True, "left": [], "text": "made"}, None),
        ({"code": 1, "made": False, "left": [], "text": "it is damaged"}, None),
        ({"code": None, "made": False, "left": [], "text": "Traceback"}, "unexpected exception"),
        ({"code": 1, "made": False, "left": [".out.part"], "text": "it is damaged"}, "behind"),
        ({"code": 1, "made": True, "left": [], "text": "it is damaged"}, "the output is there"),
        ({"code": 0, "made": False, "left": [], "text": "made"}, "not there"),
        ({"code": 1, "made": False, "left": [], "text": "two\nlines"}, "with 'two"),
        ({"code": 1, "made": False, "left": [], "text": "x is not what was written: y"}, "not what was written"),
        ({"code": 1, "made": False, "left": [], "text": "x is not what was written: 1 s instead of 2 s"}, "instead of"),
        ({"code": 1, "made": False, "left": [], "text": "x is not what was written: 1 s instead of 900000 s"}, None),
    ],
)
def test_a_broken_promise_is_seen(result, says):
    found = fuzz.verdict(result)
    assert found is says is None or says in found


def test_a_process_that_hangs_is_ended(tiny_model, monkeypatch):
    monkeypatch.setenv("RFDN_FUZZ_FAULT", "hang,1")
    findings, codes = fuzz.fuzz(2, tiny_model, limit=5)
    assert [(finding.seed, finding.what) for finding in findings] == [(1, "hangs")]
    assert sum(codes.values()) == 1


def test_a_process_that_dies_is_found_and_the_rest_goes_on(tiny_model, monkeypatch):
    monkeypatch.setenv("RFDN_FUZZ_FAULT", "crash,1")
    findings, codes = fuzz.fuzz(3, tiny_model, limit=60)
    assert [finding.seed for finding in findings] == [1]
    assert "kills the process (-11)" in findings[0].what
    assert sum(codes.values()) == 2


def test_mutants_are_the_same_every_time(tmp_path):
    (tmp_path / "whole.mkv").write_bytes(bytes(range(256)) * 20)
    for seed in range(20):
        made = []
        for name in ("one.mkv", "other.mkv"):
            fuzz.mutate(tmp_path / "whole.mkv", tmp_path / name, seed)
            made.append((tmp_path / name).read_bytes())
        assert made[0] == made[1]
