"""What was learnt of files is kept between runs, until they change."""

import pytest

from shiftgain.files.memory import remembered


def learnt(path, key, value) -> tuple[dict, bool]:
    """What is remembered at ``path``, and whether it was learnt anew."""
    calls = []
    found = remembered(path, key, lambda: calls.append(key) or value)
    return found, bool(calls)


def test_the_first_run_is_told_what_later_runs_are(tmp_path):
    path = tmp_path / "looks/mine.json"
    assert learnt(path, ["a", 1], {"sizes": [(64, 48)]}) == ({"sizes": [[64, 48]]}, True)
    assert learnt(path, ["a", 1], {}) == ({"sizes": [[64, 48]]}, False)


def test_another_key_is_learnt_anew(tmp_path):
    path = tmp_path / "mine.json"
    for number in (1, 2, 1):
        assert learnt(path, ["a", number], {"number": number}) == ({"number": number}, True)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": ["a"]}'])
def test_a_damaged_memory_is_learnt_anew(tmp_path, text):
    (tmp_path / "mine.json").write_text(text)
    assert learnt(tmp_path / "mine.json", ["a"], {"number": 1}) == ({"number": 1}, True)


def test_a_place_that_cannot_be_written_to_forgets(tmp_path):
    (tmp_path / "looks").touch()
    for _ in range(2):
        assert learnt(tmp_path / "looks/mine.json", ["a"], {"number": 1}) == ({"number": 1}, True)
