"""TOML within bounds."""

import pytest

from node.toml import KEY_PARTS_MAX, parse_toml

BAD = {
    "long key": (f"{'a.' * KEY_PARTS_MAX}a = 1", "parts"),
    "long quoted key": ("'a'.\"b\" . " * KEY_PARTS_MAX + "a = 1", "parts"),
    "long table": (f"[{'a.' * KEY_PARTS_MAX}a]", "parts"),
    "deep": ("a = " + "[" * 50_000, "deep"),
    "long number": ("a = " + "9" * 50_000, "digits"),
    "no TOML": ("9" * 200_000, "Expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_would_cost_gigabytes_is_refused_at_once(name: str) -> None:
    text, cause = BAD[name]
    with pytest.raises(ValueError, match=cause):
        parse_toml(text)


def test_all_else_is_as_it_stands() -> None:
    key = "a." * (KEY_PARTS_MAX - 1) + "a"
    assert parse_toml('host = "a.b.c"\n[x.y]\nz = [1]') == {"host": "a.b.c", "x": {"y": {"z": [1]}}}
    assert list(parse_toml(f"{key} = 1")) == ["a"]
