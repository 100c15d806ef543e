"""Who may speak to a node: this machine, or who shows the token; and how many at once."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from node.agents.gateway import GatewayAgent
from node.agents.gateway_limits import REQUESTS_MAX
from node.agents.gateway_replies import Load, _is_loopback
from node.errors import ConfigError, Exit, PortBusy
from tests.node.gateway_lab import running

TOKEN = "a token of more than sixteen"


async def get(url: str, **headers: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers) as response,
    ):
        return response.status, await response.json(content_type=None)


async def test_beyond_loopback_a_token_is_needed_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a token is needed") as caught:
        async with running(tmp_path, host="0.0.0.0"):
            pass
    assert caught.value.exit == Exit.CONFIG


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
async def test_a_token_is_needed_from_this_machine_too(tmp_path: Path, host: str) -> None:
    """A proxy that runs here speaks for anybody, and shows the Host that it was told to show."""
    async with running(tmp_path, host=host, token=TOKEN) as node:
        port = node.gateway.url.rpartition(":")[2]
        url = f"http://127.0.0.1:{port}/v1/status"
        status, body = await get(url)
        assert (status, body["errors"][0]["code"]) == (401, "denied")
        assert (await get(url, Authorization=f"Bearer {TOKEN}"))[0] == 200
        status, body = await get(url, Authorization="Bearer wrong")
        assert (status, body["errors"][0]["code"]) == (401, "denied")


@pytest.mark.parametrize("path", ["/v1/status", "/metrics", "/v1/nothing", "/openapi.json"])
async def test_a_page_elsewhere_cannot_reach_it_by_another_name(tmp_path: Path, path: str) -> None:
    """DNS rebinding: the connection is from this machine, the Host is somebody else's."""
    async with running(tmp_path) as node:
        status, body = await get(node.gateway.url + path, Host="evil.example")
        assert (status, body["errors"][0]["code"]) == (401, "denied")


async def test_with_the_token_any_name_will_do(tmp_path: Path) -> None:
    async with running(tmp_path, token=TOKEN) as node:
        shown = {"Host": "n1.lan", "Authorization": f"Bearer {TOKEN}"}
        assert (await get(node.gateway.url + "/v1/status", **shown))[0] == 200


async def test_probes_need_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as node, aiohttp.ClientSession() as session:
        for path in ("/livez", "/readyz"):
            headers = {"Host": "probe.example"}
            async with session.get(node.gateway.url + path, headers=headers) as response:
                assert response.status == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("", False),
        (None, False),
    ],
)
def test_what_is_this_machine(host: str | None, loopback: bool) -> None:
    assert _is_loopback(host) is loopback


async def test_a_taken_port_is_exit_8(tmp_path: Path) -> None:
    async with running(tmp_path / "one") as node:
        port = int(node.gateway.url.rpartition(":")[2])
        second = GatewayAgent(node, host="127.0.0.1", port=port)
        with pytest.raises(PortBusy, match=str(port)) as caught:
            await node.host.start(second, "second")
        assert caught.value.exit == Exit.BUSY


async def test_too_many_requests_at_once_are_refused_and_probes_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        load: Load = node.gateway._load
        load.open = REQUESTS_MAX
        status, body = await get(node.gateway.url + "/v1/status")
        assert (status, body["errors"][0]["code"]) == (503, "Busy")
        async with (
            aiohttp.ClientSession() as session,
            session.get(node.gateway.url + "/livez") as response,
        ):
            assert response.status == 200
        load.open = 0
        assert (await get(node.gateway.url + "/v1/status"))[0] == 200
        assert (load.open, load.refused) == (0, 1)


async def test_an_unexpected_failure_tells_nothing_of_its_insides(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as node:
        node.status = None  # type: ignore[assignment, method-assign]
        status, body = await get(node.gateway.url + "/v1/status")
        assert status == 500
        assert body["errors"][0]["code"] == "bug"
        assert "NoneType" not in body["errors"][0]["message"]
        assert "NoneType" in caplog.text
