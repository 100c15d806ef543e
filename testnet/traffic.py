"""Messages of the driver: the start of a demo, and transfers where a height is wanted without one.

Signed as alice with the testnet's account files. Knows no process.
"""

from base64 import b64encode
from pathlib import Path
from typing import Any, Final

from consensus.encoding import Value
from consensus.messages import Reference
from consensus.spec import ChainSpec, agent_id
from node.errors import UsageError, suggestion
from node.wallet import EXPIRES_AFTER_BLOCKS, Terms, Wallet
from testnet.limits import DEMO_DELAY_MS, DEMO_GAS, DEMO_PAY, TRANSFER_GAS
from testnet.probe import Reply, get, post, told

PINGPONG: Final = "pingpong"
DEMOS: Final = (PINGPONG,)
SENDER, RECEIVER = "alice", "bob"


class Traffic:
    """Sends through one API, `api`, on the chain of `spec`."""

    def __init__(self, api: str, spec: ChainSpec, accounts: Path) -> None:
        self._api, self._spec = api, spec
        wallet = Wallet(testnet_accounts=accounts)
        self._signer = wallet.unlock(SENDER)
        self._receiver = wallet.account(f"@{RECEIVER}")

    async def start_demo(self, demo: str) -> str:
        """One Start as alice, with pay; the agents drive themselves from then on. The id text."""
        check_demo(demo)
        fields: dict[str, Value] = {"delay_ms": DEMO_DELAY_MS, "rounds": 0}
        return await self._send("ping", "Start", fields, gas=DEMO_GAS, pay=DEMO_PAY)

    async def transfer(self, amount: int = 1) -> str:
        """A transfer to bob, so that there is something to decide. The id text."""
        fields: dict[str, Value] = {"to": bytes(self._receiver), "amount": amount}
        return await self._send("token", "Transfer", fields, gas=TRANSFER_GAS)

    async def _send(
        self, agent: str, kind: str, fields: dict[str, Value], *, gas: int, pay: int = 0
    ) -> str:
        height = int((_ok(await get(self._api, "/v1/status")))["height"])
        to = Reference(self._spec.id, agent_id(agent), None)
        terms = Terms(height + EXPIRES_AFTER_BLOCKS, gas, pay)
        message = self._signer.build(self._spec.id, to, kind, fields, terms)
        body = {"messages": [b64encode(message.raw).decode()]}
        answer = _ok(await post(self._api, "/v1/messages", body))
        return str(answer["ids"][0])


def _ok(reply: Reply) -> dict[str, Any]:
    """The body of a good answer. Raises what the node tells."""
    if reply.status >= 400:
        raise told(reply.body["errors"][0])
    body: dict[str, Any] = reply.body
    return body


def check_demo(demo: str) -> None:
    """Raises UsageError for an unknown demo."""
    if demo not in DEMOS:
        raise UsageError(
            f"there is no demo {demo!r}{suggestion(demo, DEMOS)}",
            hint=f"the demos are {', '.join(DEMOS)}",
        )
