"""What may be reached, called, and run unasked."""

import pytest

from duologue.core.tool_servers import (
    Approval,
    ListedTool,
    ToolFilter,
    ToolServer,
    arguments_of,
    callable_name,
    fault_of,
    permits,
)

LOOK = ListedTool("look", "", {}, {"readOnlyHint": True})
WRITE = ListedTool("write", "", {}, {"readOnlyHint": False})
PLAIN = ListedTool("plain", "", {})


def server(**about: object) -> ToolServer:
    return ToolServer("it", "https://mcp.example.org/mcp", **about)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("allowed", "fits"),
    [
        (None, {"look", "write", "plain"}),
        (ToolFilter(), {"look", "write", "plain"}),
        (ToolFilter(frozenset({"look", "gone"})), {"look"}),
        (ToolFilter(frozenset()), set()),
        (ToolFilter(read_only=True), {"look"}),
        (ToolFilter(read_only=False), {"write", "plain"}),
        (ToolFilter(frozenset({"look", "plain"}), read_only=False), {"plain"}),
    ],
)
def test_which_tools_may_be_called(allowed: ToolFilter | None, fits: set[str]) -> None:
    it = server(allowed=allowed)
    assert {tool.name for tool in (LOOK, WRITE, PLAIN) if it.allows(tool)} == fits


LOOKING, WRITING = ToolFilter(read_only=True), ToolFilter(frozenset({"write"}))


@pytest.mark.parametrize(
    ("approval", "asked"),
    [
        (Approval(), {"look", "write", "plain"}),
        (Approval("never"), set()),
        (Approval(never=LOOKING), {"write", "plain"}),
        (Approval(always=WRITING), {"look", "write", "plain"}),  # the rest is not said to be free
        (Approval(always=WRITING, never=LOOKING), {"write", "plain"}),
        (Approval(always=LOOKING, never=LOOKING), {"look", "write", "plain"}),
        (Approval("never", always=WRITING), {"write"}),
    ],
)
def test_which_calls_the_client_is_asked_about(approval: Approval, asked: set[str]) -> None:
    it = server(approval=approval)
    assert {tool.name for tool in (LOOK, WRITE, PLAIN) if it.must_ask(tool)} == asked


def test_a_server_is_the_same_as_long_as_it_is_reached_in_the_same_way() -> None:
    it = server(token="secret", headers=(("X-Key", "secret"),))
    assert it.access == server(token="secret", headers=it.headers, allowed=LOOKING).access
    assert it.access != server(token="other", headers=it.headers).access
    assert "secret" not in repr(it)
    assert ToolServer("it", "https://a.org/mcp?key=secret#x").place == "https://a.org/mcp"


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8080/mcp", "https://mcp.example.org", "http://[::1]/mcp?key=1"],
)
def test_addresses(url: str) -> None:
    assert fault_of(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mcp.example.org/mcp",
        "file:///etc/passwd",
        "ftp://example.org",
        "http://",
        "http://host:port/",
        "http://host:99999/",
        "http://[::1/mcp",
        "https://user:word@example.org/mcp",
        "https://example.org/a b",
        "https://example.org\\@evil.org/",
        "https://example.org/mcp\n",
        "https://ex\u00e4mple.org/",
        "https://example.org/mcp/../admin",
        "https://example.org/mcp/%2e%2E/admin",
        "https://example.org/mcp/%2e%2e%2fadmin",
    ],
)
def test_what_is_no_address(url: str) -> None:
    assert fault_of(url)
    assert not permits(["*"], url)


@pytest.mark.parametrize(
    ("allowed", "url", "may"),
    [
        ("*", "http://10.0.0.1/x", True),
        ("https://a.org", "https://a.org/any/where", True),
        ("https://a.org/", "https://a.org", True),
        ("https://a.org/mcp", "https://a.org/mcp", True),
        ("https://a.org/mcp/", "https://a.org/mcp/x?k=1", True),
        ("https://A.org:443/mcp", "https://a.ORG/mcp", True),
        ("https://a.org/mcp", "https://a.org/mcpx", False),
        ("https://a.org/mcp", "https://a.org/", False),
        ("https://a.org", "https://a.org.evil.net/", False),
        ("https://a.org", "http://a.org/", False),
        ("https://a.org", "https://a.org:8443/", False),
        ("https://a.org", "https://b.a.org/", False),
        ("http://host:x", "http://host/", False),
        ("", "http://host/", False),
    ],
)
def test_what_an_operator_allows(allowed: str, url: str, may: bool) -> None:
    assert permits([allowed], url) is may
    assert permits(["https://other.org", allowed], url) is may
    assert not permits([], url)


def test_names_are_such_as_models_may_call() -> None:
    assert callable_name("look_up-2") == "look_up-2"
    assert callable_name("docs/search.all ü") == "docs_search_all__"
    assert len(callable_name("x" * 200)) == 64


def test_arguments_are_an_object() -> None:
    assert arguments_of('{"a": 1}') == {"a": 1}
    assert arguments_of("") == {}
    assert arguments_of("[1]") is None
    assert arguments_of('{"a": 1') is None
    assert arguments_of("[" * 100_000) is None
