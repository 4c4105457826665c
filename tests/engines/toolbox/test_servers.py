"""The way to MCP servers: what is refused before anybody is asked, and what a missing library says."""

import builtins
import sys
from typing import Any

import pytest

from duologue.core.errors import EngineUnavailable, StateConflict
from duologue.core.tool_servers import ToolServer
from duologue.engines.toolbox.servers import McpServers

IT = ToolServer("it", "https://mcp.example.org/mcp?key=secret")


@pytest.mark.parametrize(
    "allowed", [(), ("https://mcp.example.org/other",), ("https://example.org",)]
)
async def test_what_the_operator_does_not_list_is_not_asked(allowed: tuple[str, ...]) -> None:
    with pytest.raises(StateConflict) as caught:
        async with McpServers(allowed).connect(IT):
            raise AssertionError
    assert caught.value.code == "mcp_server_not_allowed"
    assert "--mcp-servers" in caught.value.remedy
    assert "secret" not in str(caught.value)


async def test_without_the_library_it_says_what_to_install(monkeypatch: Any) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "mcp" or name.startswith("mcp."):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "duologue.engines.toolbox.connection", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "mcp"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(EngineUnavailable) as caught:
        async with McpServers(("*",)).connect(IT):
            raise AssertionError
    assert caught.value.code == "mcp_library_missing"
    assert "duologue[mcp]" in caught.value.remedy
