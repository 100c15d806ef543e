"""`apocryph send`, `query`, `watch`: talking to agents and listening to the chain."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli import words
from node.cli.net import Net, net_options
from node.cli.output import Output, with_output
from node.cli.password import password_option
from node.codes import Exit

if TYPE_CHECKING:
    from node.client import Client, Sent
    from node.forms import Edge
    from node.wallet import Wallet

WAIT_DEFAULT_S: Final = 30.0


# ---- send ---------------------------------------------------------------------------------------


@click.command()
@click.argument("ref")
@click.argument("msg")
@click.argument("fields", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option(
    "--as",
    "sender",
    metavar="NAME",
    help="who sends and pays  [default: alice in a testnet, else the only account]",
)
@click.option("--pay", type=click.IntRange(0), default=0, help="tokens that go to the agent")
@click.option("--gas", type=click.IntRange(0), help="most gas to pay for  [default: 1000]")
@click.option(
    "--expires",
    type=click.IntRange(1),
    help="last height that may include it  [default: 200 ahead]",
)
@click.option(
    "--after",
    default="",
    show_default=False,
    metavar="ID",
    help="a message that must be included first",
)
@click.option("--wait", is_flag=True, help="until it is included; shows the receipt")
@click.option("--timeout", default=WAIT_DEFAULT_S, help="seconds to wait")
@password_option
@net_options
@with_output
def send(
    ref: str,
    msg: str,
    fields: tuple[str, ...],
    sender: str | None,
    wait: bool,
    timeout: float,
    password_file: Path | None,
    net: Net,
    output: Output,
    **terms: Any,
) -> Exit:
    """Send message MSG to the agent REF: `send token Transfer to=@bob amount=5 --as alice`."""
    from node.cli.password import password_from
    from node.client import GAS_DEFAULT
    from node.errors import Rejected, TimedOut

    def ask(name: str) -> str:
        return password_from(output, password_file, of=name)()

    given = named(fields)
    if terms["gas"] is None:
        terms["gas"] = GAS_DEFAULT
    with net.client(output) as client:
        chain = client.status()["chain"] if net.api_given else ""
        wallet = net.wallet(ask, chain=chain)
        schema = _schema(client, ref)
        declared = _message_fields(schema, ref, msg, given)
        values = _typed(client, wallet, given, declared, f"message {msg}")
        _check_least(schema["least"].get(msg, {}), given, msg)
        # Last: it may ask for a password.
        signer = wallet.unlock(wallet.default() if sender is None else sender)
        message = client.build(signer, ref, msg, values, **terms)
        try:
            sent = client.send(message, wait=wait, timeout_s=timeout)
        except TimedOut as error:
            return output.fail(error, {"id": _id(message)})
        except Rejected as error:
            return output.fail(error, {"id": _id(message), "reason": error.reason})
        return _told(output, sent, words.names_of(client, wallet))


def _id(message: Any) -> str:
    from consensus.ids import id_text

    return id_text(message.id)


def named(fields: Sequence[str]) -> dict[str, str]:
    """`k=v` texts by name. Raises UsageError."""
    from node.errors import UsageError

    found: dict[str, str] = {}
    for field in fields:
        name, mark, value = field.partition("=")
        if not mark or not name:
            raise UsageError(f"{field!r}: expected FIELD=VALUE")
        if name in found:
            raise UsageError(f"{name} is given twice")
        found[name] = value
    return found


def _message_fields(
    schema: Mapping[str, Any], ref: str, msg: str, given: Mapping[str, str]
) -> Mapping[str, str]:
    """Types of a message's fields. Raises MessageInvalid: unknown type, a field that is missing."""
    from node.errors import MessageInvalid, suggestion

    messages = schema["messages"]
    if msg not in messages:
        known = ", ".join(messages) or "none"
        near = suggestion(msg, tuple(messages))
        raise MessageInvalid(f"{ref} takes no message {msg!r}{near}; it takes {known}")
    declared: Mapping[str, str] = messages[msg]
    missing = [name for name in schema["required"][msg] if name not in given]
    unknown = [name for name in given if name not in declared]
    if missing and not unknown:  # an unknown one is likely the missing one, misspelled
        wanted = " ".join(f"{name}={declared[name].upper()}" for name in missing)
        raise MessageInvalid(f"{msg} lacks {', '.join(missing)}", hint=f"add {wanted}")
    return declared


def _check_least(least: Mapping[str, int], given: Mapping[str, str], msg: str) -> None:
    """Raises MessageInvalid for what the agent would reject whatever its state. `given`: texts of
    whole numbers by now."""
    from node.errors import MessageInvalid

    for name, bound in least.items():
        if name in given and int(given[name]) < bound:
            raise MessageInvalid(
                f"message {msg}: {name}: {given[name]} is less than {bound}",
                hint=f"give {name} at least {bound}",
            )


def _schema(client: "Client", ref: str) -> Mapping[str, Any]:
    from node.errors import MessageInvalid, Rejected, suggestion

    try:
        agent = client.agent(_agent_of(ref))
    except Rejected as error:
        names = tuple(client.agent_ids())
        near = suggestion(ref, names)
        raise MessageInvalid(
            f"there is no agent {ref!r}{near}", hint=f"agents with a name: {', '.join(names)}"
        ) from error
    schema: Mapping[str, Any] | None = agent["schema"]
    if schema is None:
        raise MessageInvalid(f"{ref} runs {agent['code']}, which this version does not know")
    return schema


def _agent_of(ref: str) -> str:
    """The agent's part of `[chain/]agent[#capability]`."""
    return ref.partition("#")[0].rpartition("/")[2]


def _edge(client: "Client", wallet: "Wallet") -> "Edge":
    """Addresses on a command line: @name, apx1…, an agent's name, base32."""
    from node.forms import Edge, read_address

    agents = client.agent_ids()

    def resolve(text: str) -> bytes:
        if text.startswith("@"):
            return wallet.account(text)
        return agents.get(text) or read_address(text)

    names = {agent: name for name, agent in agents.items()}

    def name(raw: bytes) -> str:
        from consensus.ids import Agent, hash_text

        return names.get(Agent(raw)) or hash_text(raw)

    return Edge(resolve, name)


def _typed(
    client: "Client",
    wallet: "Wallet",
    given: Mapping[str, str],
    declared: Mapping[str, str],
    what: str,
) -> dict[str, Any]:
    from node.forms import read_named

    return read_named(given, declared, _edge(client, wallet), what=what)


def _told(output: Output, sent: "Sent", name: words.Name) -> Exit:
    """What became of a message; a receipt that is not ok is exit 5."""
    from node.errors import Rejected
    from node.refusals import refusal

    if sent.tx is None:
        return output.result({"id": sent.text, "state": "pending"}, sent.text)
    receipt = sent.tx["receipt"]
    data = {
        "id": sent.text,
        "state": sent.tx["state"],
        "height": sent.tx["height"],
        "block": sent.tx["block"],
        "gas": receipt["gas"],
        "finality_ms": sent.finality_ms,
        "receipt": receipt,
    }
    if receipt["status"] != "ok":
        code = receipt["code"] or receipt["status"]
        cause = f"the receipt of height {receipt['height']} says {receipt['status']}({code})"
        hint = refusal(code).hint or f"apocryph tx {sent.text}"
        return output.fail(Rejected(cause, reason=code, hint=hint), data)
    lines = [
        sent.text,
        f"ok at height {receipt['height']}, gas {receipt['gas']}, final after "
        f"{sent.finality_ms} ms",
        *[f"event {words.event_text(event, name)}" for event in receipt["events"]],
    ]
    return output.result(data, "\n".join(lines))


# ---- query --------------------------------------------------------------------------------------


@click.command()
@click.argument("ref", required=False)
@click.argument("view", required=False)
@click.argument("arguments", nargs=-1, metavar="[ARGUMENT=VALUE]...")
@net_options
@with_output
def query(
    ref: str | None, view: str | None, arguments: tuple[str, ...], net: Net, output: Output
) -> Exit:
    """Ask view VIEW of agent REF; without a view: what it understands; without REF: all agents."""
    from node.cli.agent import listed
    from node.errors import MessageInvalid, suggestion
    from node.forms import form

    given = named(arguments)
    with net.client(output) as client:
        if ref is None:
            return listed(client, output)
        schema = _schema(client, ref)
        if view is None:
            return output.result({"agent": ref, "schema": schema}, words.schema_text(schema))
        found = schema["views"].get(view)
        if found is None:
            known = ", ".join(schema["views"]) or "none"
            near = suggestion(view, tuple(schema["views"]))
            raise MessageInvalid(f"{ref} has no view {view!r}{near}; it has {known}")
        declared = found["arguments"]
        wallet = net.wallet()
        values = _typed(client, wallet, given, declared, f"view {view}")
        edge = _edge(client, wallet)
        texts = {name: form(declared[name], edge).text(value) for name, value in values.items()}
        answer = client.query(_agent_of(ref), view, texts)
    value = answer["value"]
    return output.result(answer, words.value_text(value))


# ---- watch --------------------------------------------------------------------------------------


@click.command()
@click.argument("ref", required=False)
@click.option(
    "--after", default="", show_default=False, metavar="CURSOR", help="go on after this cursor"
)
@click.option(
    "--types", default="", show_default=False, metavar="LIST", help="some of block,receipt,event"
)
@click.option("--count", type=click.IntRange(1), help="stop after so many")
@net_options
@with_output
def watch(
    ref: str | None, after: str, types: str, count: int | None, net: Net, output: Output
) -> Exit:
    """Blocks, receipts and events as they come; with REF only that agent's. Ctrl-C ends it."""
    wanted = tuple(types.split(",")) if types else (("event",) if ref else ())
    with net.client(output) as client:
        name = words.names_of(client, net.wallet())
        records = client.events(after=after, types=wanted, agent=_agent_of(ref or ""))
        for shown, record in enumerate(records, 1):
            line = {"type": record.type, "data": record.data}
            output.item(line, words.record_text(record, name), cursor=record.cursor)
            if shown == count:
                break
    return Exit.OK
