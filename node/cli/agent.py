"""`apocryph agent list`: the agents of a chain."""

from typing import TYPE_CHECKING, Any

import click

from node.cli.net import Net, net_options
from node.cli.output import Output, with_output
from node.codes import Exit

if TYPE_CHECKING:
    from node.client import Client

AGENTS_MAX = 100_000  # that are listed


@click.group()
def agent() -> None:
    """The agents of a chain."""


@agent.command("list")
@net_options
@with_output
def list_(net: Net, output: Output) -> Exit:
    """List them: name, code, id. `apocryph query NAME` tells what one understands."""
    with net.client(output) as client:
        return listed(client, output)


def listed(client: "Client", output: Output) -> Exit:
    """All agents, page by page."""
    page = client.agents()
    found: list[dict[str, Any]] = page["agents"]
    while page["next"] and len(found) < AGENTS_MAX:
        page = client.agents(after=page["next"])
        found += page["agents"]
    if page["next"]:
        output.warn(f"there are more than these {len(found)}")
    rows = [(one["agent"], one["code"], one["id"]) for one in found]
    text = output.table(("agent", "code", "id"), rows)
    return output.result({"agents": found, "height": page["height"]}, text)
