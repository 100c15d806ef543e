"""Records of the API as words for people: accounts and agents by their names. For text only, never
for `--json`.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from node.cli.output import compact, one_line

if TYPE_CHECKING:
    from node.client import Client
    from node.transport import EventRecord
    from node.wallet import Wallet

ID_SHOWN: Final = 12
Name = Callable[[bytes], str]
_ADDRESS_BYTES: Final = 32


def names_of(client: "Client", wallet: "Wallet") -> Name:
    """Texts of addresses: an agent's name, `@name`, else `apx1…`."""
    from consensus.ids import account_text

    agents = {bytes(agent): name for name, agent in client.agent_ids().items()}
    accounts = {entry.public: f"@{name}" for name, entry in wallet.entries().items()}
    return lambda raw: agents.get(raw) or accounts.get(raw) or account_text(raw)


def readable(value: Any, name: Name) -> Any:
    """A JSON value with its bytes as text: addresses by name, others as hex."""
    match value:
        case {"/": {"bytes": str(text)}} if len(value) == 1:
            try:
                raw = b64decode(text + "=" * (-len(text) % 4))
            except ValueError:  # a map of an agent's own that looks like bytes
                return value
            return name(raw) if len(raw) == _ADDRESS_BYTES else f"0x{raw.hex()}"
        case dict():
            return {key: readable(item, name) for key, item in value.items()}
        case list():
            return [readable(item, name) for item in value]
    return value


def value_text(value: Any) -> str:
    """JSON in one line, text as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def fields_text(fields: Any, name: Name) -> str:
    """`k=v k=v`, as `send` takes them."""
    shown = readable(fields, name)
    if not isinstance(shown, dict):
        return one_line(value_text(shown))
    return one_line(" ".join(f"{key}={value_text(item)}" for key, item in shown.items()))


def event_text(event: Mapping[str, Any], name: Name) -> str:
    """`agent Type k=v`."""
    return f"{event['agent']} {event['type']} {fields_text(event['data'], name)}"


def outcome_text(receipt: Mapping[str, Any]) -> str:
    """`ok`, `rejected(NoFunds)`."""
    code = f"({receipt['code']})" if receipt["code"] else ""
    return f"{receipt['status']}{code}"


def record_text(record: "EventRecord", name: Name) -> str:
    """One line of `watch`."""
    data = record.data
    match record.type:
        case "block":
            work = f"{data['messages']} messages, {data['chain_inputs']} of the chain"
            return f"{record.cursor}  block …{data['block'][-ID_SHOWN:]}  {work}"
        case "receipt":
            told = f"{outcome_text(data)}  gas {data['gas']}"
            return f"{record.cursor}  receipt …{data['message'][-ID_SHOWN:]}  {told}"
        case "event":
            return f"{record.cursor}  event {event_text(data, name)}"
    return f"{record.type} {compact(data)}"


def status_text(status: Mapping[str, Any]) -> str:
    """A node's status."""
    deciding = status["deciding"]
    at = f"deciding {deciding['height']}, round {deciding['round']}, streak {deciding['streak']}"
    lines = [
        f"{status['name']}  peer {status['peer']}",
        *[
            f"{key:7} {status[key]}"
            for key in ("folder", "listen", "api", "fabric")
            if key in status
        ],
        f"chain   {status['chain_name']}  {status['chain']}",
        f"height  {status['height']}{_behind(status)}  {status['block']}",
        f"state   {status['state_root']}",
        f"epoch   {status['epoch']}, {status['slots']} of {status['slots_occupied']} slots; {at}",
        f"peers   {status['peers']}, pool {status['pool']} messages",
    ]
    if status["halted"]:
        lines.append(f"HALTED  {status['halted']}")
    return "\n".join(lines)


def _behind(status: Mapping[str, Any]) -> str:
    return f" (catching up, {behind_text(status)})" if status.get("catching_up") else ""


def behind_text(status: Mapping[str, Any]) -> str:
    """`N of M`: how far a node is that catches up."""
    return f"{status['height']} of {status['known_height']}"


def chain_text(data: Mapping[str, Any]) -> str:
    """What who joins has to know."""
    kind = f"{data['consensus']}, {data['slots']} slots, epochs of {data['epoch_blocks']} heights"
    lines = [
        f"chain       {data['name']}  {data['chain']}",
        f"kind        {kind}",
        f"checkpoint  {data['checkpoint'] or '-'}",
        *[f"peer        {peer}" for peer in data["peers"]],
    ]
    if data["file"]:
        lines.append(f"file        {data['file']}")
    return "\n".join(lines)


def schema_text(schema: Mapping[str, Any]) -> str:
    """What an agent understands, as the commands that ask it."""

    def signature(declared: Mapping[str, str]) -> str:
        return " ".join(f"{name}={kind}" for name, kind in declared.items())

    lines = [f"send   {name} {signature(fields)}" for name, fields in schema["messages"].items()]
    for name, form in schema["views"].items():
        lines.append(f"query  {name} {signature(form['arguments'])} -> {form['returns']}")
    return "\n".join([line.rstrip() for line in lines])


def block_text(block: Mapping[str, Any]) -> str:
    certificate = block["certificate"]
    signers = len(certificate["signers"]) if certificate else 0
    inputs = f"{len(block['messages'])} messages, {len(block['chain_inputs'])} of the chain"
    lines = [
        f"height   {block['height']}  epoch {block['epoch']}  round {block['round']}",
        f"block    {block['block']}",
        f"parent   {block['parent']}",
        f"time_ms  {block['time_ms']}",
        f"state    {block['state_root']}",
        f"inputs   {inputs}, {block['facts']} facts, gas {block['gas_used']}",
        f"certified by {signers} peers" if certificate else "no certificate",
        *block["messages"],
    ]
    return "\n".join(lines)


def tx_text(found: Mapping[str, Any], name: Name) -> str:
    lines = [f"{found['id']}  {found['state']}"]
    message = found["message"]
    if message is not None:
        sender = _account_name(message["sender"], name)
        what = f"{message['type']} {fields_text(message['fields'], name)}"
        lines.append(f"from {sender} to {message['to']}: {what}")
    receipt = found["receipt"]
    if receipt is not None:
        lines.append(f"{outcome_text(receipt)} at height {receipt['height']}, gas {receipt['gas']}")
        lines += [f"event {event_text(event, name)}" for event in receipt["events"]]
    if "refusal" in found:
        lines.append(f"{found['refusal']['code']}: {found['refusal']['cause']}")
    return "\n".join(lines)


def _account_name(text: str, name: Name) -> str:
    from consensus.ids import ACCOUNT_TYPE, key_from_text

    return name(key_from_text(text, ACCOUNT_TYPE))
