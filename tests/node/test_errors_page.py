"""docs/errors.md is the table of codes. Renew it: `python -m tests.node.test_errors_page`."""

from pathlib import Path

from node.codes import CODES, Exit

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
_MEANING = {
    Exit.OK: "ok",
    Exit.NEGATIVE: "a negative answer",
    Exit.USAGE: "usage",
    Exit.CONFIG: "config or key",
    Exit.UNREACHABLE: "unreachable",
    Exit.REJECTED: "rejected or failed",
    Exit.TIMEOUT: "timeout, outcome unknown (the id is printed)",
    Exit.SAFETY: "refused for safety",
    Exit.BUSY: "busy: port, lock",
    Exit.BUG: "a bug of ours",
    Exit.INTERRUPTED: "ended by Ctrl-C",
}


def page() -> str:
    lines = ["# Errors and exit codes", "", "| exit | means |", "|---|---|"]
    lines += [f"| {int(exit_)} | {text} |" for exit_, text in _MEANING.items()]
    lines += ["", "`apocryph explain CODE` prints a row of this table.", ""]
    lines += ["| code | exit | what it means | what helps |", "|---|---|---|---|"]
    for code in CODES.values():
        text, hint = code.text.replace("|", "\\|"), code.hint.replace("|", "\\|")
        lines.append(f"| `{code.name}` | {int(code.exit)} | {text} | {hint} |")
    return "\n".join(lines) + "\n"


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == page()


def test_every_exit_code_is_explained() -> None:
    assert set(_MEANING) == set(Exit)


if __name__ == "__main__":
    PAGE.write_text(page())
