"""Rows cut into pages: what is larger than one value of the fabric goes in several."""

from collections.abc import Iterator, Sequence


def pages(rows: Sequence[bytes], most: int) -> Iterator[list[bytes]]:
    """The rows in order, in lists of at most `most` bytes; a larger row is a page of its own."""
    page: list[bytes] = []
    size = 0
    for row in rows:
        if page and size + len(row) > most:
            yield page
            page, size = [], 0
        page.append(row)
        size += len(row)
    if page:
        yield page
