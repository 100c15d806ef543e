"""Commands that tell of testnets, and of one validator's life: ls, status, accounts, node …

Knows no process: the supervisor answers over its socket, validators over their API.
"""

import asyncio
from dataclasses import replace
from typing import Any, Final

from node.cli.output import Output
from node.codes import Exit
from node.errors import Unreachable
from testnet.control import ask
from testnet.folder import About, Folder, names
from testnet.limits import NODE_ACTION_S
from testnet.probe import get
from testnet.session import Session, silent

PLACES: Final = ("name", "peer", "listen", "api", "fabric", "folder")


def testnets(output: Output) -> Exit:
    """`testnet ls`."""
    found = []
    for name in names():
        folder = Folder(name)
        about, owner = folder.about(), folder.supervisor()
        found.append(
            {
                "name": name,
                "running": owner is not None,
                "pid": owner,
                "validators": len(about.nodes),
                "api": about.api,
                "chain": about.chain,
                "folder": str(folder.path),
            }
        )
    rows = [
        [one["name"], "running" if one["running"] else "stopped", one["validators"], one["api"]]
        for one in found
    ]
    text = output.table(("name", "state", "validators", "api"), rows)
    return output.result({"testnets": found}, text)


def status(net: str, output: Output) -> Exit:
    """`testnet status`. Raises NotFound, Unreachable when it is stopped, ProofRefused."""
    folder = Folder(net)
    about = folder.about()
    processes = _processes(folder)
    session = Session(folder, about)
    rows = asyncio.run(_rows(session, folder, processes))
    data = {"net": net, "api": about.api, "chain": about.chain, "nodes": rows}
    columns = ("name", "state", "height", "block", "state_root", "slots", "certificates_verified")
    shown = [[row["name"], _word(row), *[row[column] for column in columns[2:]]] for row in rows]
    places = [[row[column] for column in PLACES] for row in rows]
    text = f"{output.table(columns, shown)}\n\n{output.table(PLACES, places)}"
    return output.result(data, text)


def _word(row: dict[str, Any]) -> str:
    behind = row["catching_up"] and f", behind {row['known_height'] - row['height']}"
    return f"{row['state']}{behind or ''}"


async def _rows(
    session: Session, folder: Folder, processes: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Every validator in order; one whose process does not run is not asked."""
    about = session.about
    answering, found = [], {}
    for one in about.nodes:
        process = processes[one.name]
        if process["state"] in ("ready", "listening"):
            answering.append(replace(one, api=process["api"], fabric=process["fabric"]))
        else:
            cause = process["error"] or f"its process is {process['state']}"
            found[one.name] = silent(one.name, Unreachable(cause))
    for row in await session.tips(answering):
        found[row["name"]] = row
    rows = []
    for one in about.nodes:
        process = processes[one.name]
        told = {key: process[key] for key in ("state", "pid", "api", "fabric", "listen")}
        place = {"peer": one.peer, "folder": str(folder.node_path(one.name))}
        rows.append({**found[one.name], **told, **place})
    return rows


def _processes(folder: Folder) -> dict[str, dict[str, Any]]:
    """What the supervisor says of each validator. Raises Unreachable when there is none."""
    if folder.supervisor() is None:
        raise Unreachable(
            f"the testnet {folder.name!r} is not running",
            hint=f"start it with `apocryph testnet up --net {folder.name}`",
        )
    told = ask(folder.socket_path, {"op": "status"})
    return {row["name"]: row for row in told["nodes"]}


def accounts(net: str, output: Output) -> Exit:
    """`testnet accounts`."""
    folder = Folder(net)
    about = folder.about()
    running = folder.supervisor() is not None
    balances = asyncio.run(_balances(about)) if running else {}
    found = [
        {"name": name, "account": account, "balance": balances.get(name)}
        for name, account in about.accounts.items()
    ]
    rows = [[f"@{one['name']}", one["account"], one["balance"]] for one in found]
    text = output.table(("name", "account", "balance"), rows)
    return output.result({"net": net, "accounts": found}, text)


async def _balances(about: About) -> dict[str, Any]:
    """By name; empty where no validator answers."""

    async def balance(account: str) -> Any:
        reply = await get(about.api, f"/v1/accounts/{account}")
        return reply.body["balance"] if reply.status == 200 else None

    try:
        found = await asyncio.gather(*[balance(account) for account in about.accounts.values()])
    except Unreachable:
        return {}
    return dict(zip(about.accounts, found, strict=True))


def operate(net: str, operation: str, node: str, output: Output) -> Exit:
    """`testnet node OPERATION NODE`. Raises NotFound, UsageError, Unreachable."""
    folder = Folder(net)
    folder.require()
    _processes(folder)
    request = {"op": operation, "node": node}
    row = ask(folder.socket_path, request, timeout_s=NODE_ACTION_S)
    return output.result({"net": net, "node": row}, f"{node} is {row['state']}")
