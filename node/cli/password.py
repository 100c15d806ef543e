"""Passwords of keys: from a file, from APOCRYPH_PASSWORD_FILE, or asked for. Never an argument."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from node.cli.output import Output
from node.errors import KeyPasswordWrong, KeyReadable, PasswordFileError

VARIABLE: Final = "APOCRYPH_PASSWORD_FILE"
PASSWORD_BYTES_MAX: Final = 4096

password_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help=f"file with the password, 0600; else {VARIABLE}, else you are asked",
)


def password_from(
    output: Output, file: Path | None, *, of: str, confirm: bool = False
) -> Callable[[], str]:
    """A function that gets the password of the key `of` when it is needed.

    It raises KeyPasswordWrong where there is none and nobody can be asked, KeyReadable for a file
    that others can read.
    """

    def ask() -> str:
        named = file or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
        if named is not None:
            return read_password(named)
        if not output.may_ask:
            raise KeyPasswordWrong(
                f"the key {of} has a password, and nobody can be asked here",
                hint=f"pass --password-file FILE or set {VARIABLE}",
            )
        answer: str = click.prompt(
            f"password of {of}", hide_input=True, confirmation_prompt=confirm, err=True
        )
        return answer

    return ask


def read_password(path: Path) -> str:
    """The first line of a file that only its owner can read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            raw = file.read(PASSWORD_BYTES_MAX + 1)
    except OSError as error:
        raise PasswordFileError(f"{path}: {error.strerror}") from error
    if mode & 0o077:
        raise KeyReadable(
            f"{path} has mode {mode:04o}: others can read it", hint=f"chmod 600 {path}"
        )
    try:
        lines = raw.decode().splitlines() if len(raw) <= PASSWORD_BYTES_MAX else []
    except UnicodeDecodeError:
        lines = []
    if not lines:
        raise PasswordFileError(
            f"{path} holds no password", hint="write it as the first line, in UTF-8"
        )
    return lines[0]
