"""Engine servers and the pool that borrows them, both ends over real sockets in one event loop."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import serve
from websockets.typing import Subprotocol

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import AtCapacity, EngineError, EngineLost, SetupError
from duologue.engines import pipe
from duologue.engines.chain import Link as Chained
from duologue.engines.endpoint import link
from duologue.engines.endpoint.pool import EndpointsPool
from duologue.engines.endpoint.wire import SUBPROTOCOL
from duologue.engines.resilient import ResilientPool
from duologue.engines.threads import MAX_UNTAKEN
from duologue.ports import EngineGone, EngineStream, Event, Final, SttOptions
from duologue.server.tls import self_made
from tests.engines.endpoint.lent import borrowed, lent


def frame(what: bytes = b"\0", start: int = 0) -> AudioFrame:
    return AudioFrame(what.ljust(1024, b"\0"), start)


async def opened(pool: EndpointsPool, key: str = "s") -> EngineStream:
    return await pool.open(Role.STT, key, SttOptions())


async def first(stream: EngineStream, kind: type[Event]) -> Any:
    async with asyncio.timeout(10):
        async for event in stream.events():
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the stream ended without {kind}")


async def heard(pool: EndpointsPool) -> str:
    """What a fresh stream makes of one frame."""
    stream = await opened(pool)
    assert stream.offer(frame())
    stream.flush(1)
    text: str = (await first(stream, Final)).text
    await stream.aclose()
    return text


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another side's state is nobody's event here
            await asyncio.sleep(0.005)


def under(*hosts: str) -> Any:
    """A resolver for which every name is all of these addresses; they may be changed."""
    known = list(hosts)

    async def resolve(host: str) -> Sequence[str]:
        if not known:
            raise OSError("no such name")
        return known

    resolve.known = known  # type: ignore[attr-defined]
    return resolve


# --- who may come in ---
@pytest.mark.parametrize(
    ("role", "token", "subprotocol", "code"),
    [
        (Role.STT, "", SUBPROTOCOL, "endpoint_token_wrong"),
        (Role.STT, "wrong", SUBPROTOCOL, "endpoint_token_wrong"),
        (Role.TTS, "secret", SUBPROTOCOL, "endpoint_role_wrong"),
        (Role.STT, "secret", "duologue-engine-0", "endpoint_version_wrong"),
    ],
)
async def test_a_client_that_does_not_fit_is_told_so_at_once(
    role: Role, token: str, subprotocol: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "SUBPROTOCOL", subprotocol)
    async with lent(token="secret") as (server, port):
        began = time.perf_counter()
        with pytest.raises(EngineError) as failed:
            async with borrowed(port, role=role, token=token):
                pass
        assert time.perf_counter() - began < 1.0  # it will be no other for waiting
        assert failed.value.code == code
        assert failed.value.remedy
        assert server.connections == 0


async def test_a_client_with_the_token_comes_in() -> None:
    async with lent(token="secret") as (_, port), borrowed(port, token="secret\n") as pool:
        assert (await heard(pool)).startswith("512 samples")
        assert pool.capabilities.max_streams == 3


async def test_a_server_that_still_loads_is_waited_for() -> None:
    async with lent(ready=False) as (server, port):
        with pytest.raises(EngineError) as failed:
            async with borrowed(port, patience_s=0):
                pass
        assert failed.value.code == "engine_loading"
        asyncio.get_running_loop().call_later(0.1, setattr, server, "is_ready", True)
        async with borrowed(port) as pool:
            assert (await heard(pool)).startswith("512 samples")


@pytest.mark.parametrize("token", ["two words", "sécret", "a\nb"])
def test_a_token_that_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(SetupError) as failed:
        EndpointsPool(Role.STT, ["ws://stt:9000"], token)
    assert failed.value.code == "token_invalid"
    assert token not in str(failed.value)


async def test_over_tls_the_certificate_is_checked_against_the_name(tmp_path: Path) -> None:
    certificate, key = self_made(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with lent(tls=tls) as (_, port):
        for name, trust, code in (
            ("localhost", trusting, ""),
            ("elsewhere", trusting, "endpoint_unreachable"),
            ("localhost", None, "endpoint_unreachable"),
        ):
            url = f"wss://{name}:{port}"
            pool = EndpointsPool(Role.STT, [url], resolve=under("127.0.0.1"), tls=trust)
            async with pool:
                if code:
                    with pytest.raises(EngineError) as failed:
                        await pool.start(0)
                    assert failed.value.code == code
                    assert "certificate" in failed.value.message.lower()
                    continue
                await pool.start(1)
                assert (await heard(pool)).startswith("512 samples")


@pytest.mark.parametrize("url", ["http://stt:9000", "ws://", "ws://stt:0", "ws://a:b", "ws://u@h"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SetupError) as failed:
        EndpointsPool(Role.STT, [url])
    assert failed.value.code == "endpoint_url_invalid"


async def test_nobody_there_is_said_with_a_remedy() -> None:
    async with lent() as (_, port):
        pass
    for options in ({}, {"resolve": under()}):
        host = "127.0.0.1" if not options else "stt"
        async with EndpointsPool(Role.STT, [f"ws://{host}:{port}"], **options) as pool:
            with pytest.raises(EngineError) as failed:
                await pool.start(0)
        expected = "endpoint_unknown" if options else "endpoint_unreachable"
        assert failed.value.code == expected
        assert failed.value.remedy


# --- room ---
async def test_full_servers_refuse_at_once_and_the_next_is_asked() -> None:
    async with lent() as (one, port), lent() as (two, other), borrowed(port, other) as pool:
        streams = [await opened(pool, "the same") for _ in range(6)]
        assert (one.streams, two.streams) == (3, 3)
        began = time.perf_counter()
        with pytest.raises(AtCapacity) as refused:
            await opened(pool)
        assert time.perf_counter() - began < 0.2
        assert refused.value.code == "stt_at_capacity"
        assert "All 6 stt streams" in refused.value.message
        for stream in streams:
            await stream.aclose(cancel=True)
        await until(lambda: pool.streams == 0)
        assert one.counts["refused"] + two.counts["refused"] >= 2


async def test_somebody_elses_streams_count() -> None:
    async with lent() as (_, port), borrowed(port) as mine, borrowed(port) as theirs:
        taken = [await opened(theirs) for _ in range(3)]
        with pytest.raises(AtCapacity):
            await opened(mine)
        await taken[0].aclose(cancel=True)
        await until(lambda: theirs.streams == 2)
        stream = await opened(mine)
        for each in (stream, *taken[1:]):
            await each.aclose(cancel=True)


async def test_a_consumer_that_takes_nothing_is_given_no_more_than_its_credit() -> None:
    async with lent() as (_, port), borrowed(port) as pool:
        slow, other = await opened(pool, "slow"), await opened(pool, "other")
        slow.offer(frame(b"p"))  # a thousand events
        events: Any = slow.events()
        await until(lambda: len(events) == MAX_UNTAKEN)
        other.flush(1)  # the connection is theirs in common, and goes on
        assert await first(other, Final)
        assert len(events) == MAX_UNTAKEN
        slow.flush(2)
        assert (await first(slow, Final)).id == 2
        for stream in (slow, other):
            await stream.aclose(cancel=True)


# --- several servers ---
@asynccontextmanager
async def behind_one_name(
    hosts: Sequence[str] = ("127.0.0.1", "127.0.0.2"), resolve: Any = None
) -> AsyncIterator[tuple[Any, list[Any]]]:
    async with AsyncExitStack() as stack:
        servers, port = [], 0
        for host in hosts:
            server, port = await stack.enter_async_context(lent(host=host, port=port))
            servers.append(server)
        resolve = resolve or under(*hosts)
        pool = EndpointsPool(Role.STT, [f"ws://stt:{port}"], resolve=resolve)
        await stack.enter_async_context(pool)
        await pool.start(5)
        yield pool, servers


async def test_all_addresses_of_a_name_are_used() -> None:
    async with behind_one_name() as (pool, (one, two)):
        assert {state.address for state in pool.states()} == {"127.0.0.1", "127.0.0.2"}
        assert pool.capabilities.max_streams == 6
        streams = [await opened(pool, str(n)) for n in range(4)]
        assert (one.streams, two.streams) == (2, 2)
        assert [state.streams for state in pool.states()] == [2, 2]
        for stream in streams:
            await stream.aclose(cancel=True)


async def test_a_session_keeps_to_one_server_while_there_is_nothing_to_choose() -> None:
    async with behind_one_name() as (pool, (one, two)):
        for _ in range(12):
            await heard(pool)
            await until(lambda: pool.streams == 0)
        assert sorted((one.counts["opened"], two.counts["opened"])) == [0, 12]
        for n in range(16):
            await (await opened(pool, str(n))).aclose(cancel=True)
            await until(lambda: pool.streams == 0)
        assert min(one.counts["opened"], two.counts["opened"]) > 0  # others have another


async def test_a_server_that_goes_down_gets_no_more_and_finishes_what_it_has() -> None:
    async with behind_one_name() as (pool, (one, two)):
        streams = [await opened(pool, str(n)) for n in range(2)]
        assert (one.streams, two.streams) == (1, 1)
        one.drain()
        going = asyncio.ensure_future(one.finished())
        streams += [await opened(pool, "more") for _ in range(2)]
        assert (one.streams, two.streams) == (1, 3)
        with pytest.raises(AtCapacity):
            await opened(pool)
        for stream in streams:
            stream.offer(frame())
            stream.flush(1)
            assert (await first(stream, Final)).text.startswith("512 samples")
            await stream.aclose()
        assert await going == 0
        await until(lambda: one.connections == 0)
        assert (await heard(pool)).startswith("512 samples")


async def test_draining_is_bounded_and_can_be_hurried() -> None:
    async with lent() as (server, port), borrowed(port) as pool:
        stream = await opened(pool)
        server.drain()
        assert await server.finished(0.02) == 1
        server.drain()
        assert await server.finished() == 1
        await stream.aclose(cancel=True)


async def test_a_server_that_is_new_under_the_name_is_found_when_there_is_need() -> None:
    resolve = under("127.0.0.1")
    async with behind_one_name(resolve=resolve) as (pool, (one, two)):
        streams = [await opened(pool) for _ in range(3)]
        assert (one.streams, two.streams) == (3, 0)
        resolve.known.append("127.0.0.2")
        await until(lambda: pool.clock() > pool._resolved_at + 0.5)
        streams.append(await opened(pool))
        assert (one.streams, two.streams) == (3, 1)
        for stream in streams:
            await stream.aclose(cancel=True)


async def test_a_name_that_cannot_be_looked_up_any_more_keeps_its_servers() -> None:
    resolve = under("127.0.0.1", "127.0.0.2", "127.0.0.3")  # there is nobody at the last
    async with behind_one_name(resolve=resolve) as (pool, _):
        resolve.known.clear()
        await pool._look_up(0)
        assert [state.state for state in pool.states()] == ["up", "up", "down"]
        assert (await heard(pool)).startswith("512 samples")


# --- losses ---
async def test_a_server_that_goes_away_costs_its_streams_and_is_found_again() -> None:
    async with AsyncExitStack() as stack:
        first_life = await stack.enter_async_context(AsyncExitStack())
        _, port = await first_life.enter_async_context(lent())
        pool = await stack.enter_async_context(borrowed(port))
        stream = await opened(pool)
        await first_life.aclose()
        gone = await first(stream, EngineGone)
        assert isinstance(gone.error, EngineLost)
        assert gone.error.code == "endpoint_lost"
        assert stream.offer(frame())  # taken, and lost: whoever keeps it offers it elsewhere
        await stream.aclose(cancel=True)
        began = time.perf_counter()
        with pytest.raises(EngineError) as failed:
            await opened(pool)
        assert failed.value.code == "endpoint_unreachable"
        with pytest.raises(EngineError):
            await opened(pool)
        assert time.perf_counter() - began < 0.2
        assert [state.state for state in pool.states()] == ["down"]
        await stack.enter_async_context(lent(port=port))
        await until(lambda: pool.states()[0].state == "up")
        assert (await heard(pool)).startswith("512 samples")
        assert pool.losses == 1


async def test_an_utterance_goes_on_at_another_server_with_nothing_lost() -> None:
    async with behind_one_name() as (pool, servers):
        resilient = ResilientPool({Role.STT: [Chained("far", pool)]})
        stream = await resilient.open(Role.STT, "s", SttOptions())
        for n in range(8):
            assert stream.offer(frame(start=512 * n))
        (victim,) = (server for server in servers if server.streams)
        await victim.aclose()
        stream.flush(1)
        final = await first(stream, Final)
        assert final.text.startswith("4096 samples")
        assert final.upto == 4096
        assert resilient.fallbacks == 1
        await stream.aclose()


@pytest.mark.parametrize("junk", [b"\xff\xff", "text", b"\x92\xa5Guess\x01", b""])
async def test_what_is_not_our_wire_costs_the_connection_to_its_sender_only(junk: Any) -> None:
    """A server that speaks our protocol up to the opening of a stream."""

    async def speak(socket: Any) -> None:
        await socket.send(pipe.encode(pipe.Ready(0, Capabilities())))
        asked = pipe.decode(await socket.recv())
        await socket.send(pipe.encode(pipe.Opened(asked.stream)))
        await socket.send(junk)
        await socket.wait_closed()

    async with serve(speak, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)]) as server:
        (listening,) = server.sockets
        async with borrowed(listening.getsockname()[1]) as pool:
            stream = await opened(pool)
            gone = await first(stream, EngineGone)
            assert gone.error.code == "endpoint_lost"
            await stream.aclose(cancel=True)


@pytest.mark.parametrize("hello", [b"", b"\xc1", "hello", pipe.encode(pipe.Opened(1))])
async def test_who_does_not_greet_is_no_engine_server(hello: Any) -> None:
    async def speak(socket: Any) -> None:
        await socket.send(hello)
        await socket.wait_closed()

    async with serve(speak, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)]) as server:
        (listening,) = server.sockets
        with pytest.raises(EngineError) as failed:
            async with borrowed(listening.getsockname()[1], patience_s=0):
                pass
        assert failed.value.code in ("endpoint_is_other", "engine_garbled")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "endpoint_is_other"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "endpoint_unreachable"),
        (b"", "endpoint_unreachable"),
    ],
)
async def test_other_servers_are_told_from_ours(answer: bytes, code: str) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read(64)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        with pytest.raises(EngineError) as failed:
            async with borrowed(server.sockets[0].getsockname()[1], patience_s=0):
                pass
        assert failed.value.code == code


async def test_a_server_that_accepts_and_says_nothing_costs_half_a_second() -> None:
    async def hush(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hush, "127.0.0.1", 0) as server, lent() as (_, port):
        hushed = server.sockets[0].getsockname()[1]
        began = time.perf_counter()
        async with borrowed(hushed, port, clock=lambda: 0.0) as pool:
            assert 0.4 < time.perf_counter() - began < 1.5
            began = time.perf_counter()
            streams = [await opened(pool, str(n)) for n in range(3)]
            with pytest.raises(AtCapacity):
                await opened(pool)
            assert time.perf_counter() - began < 0.3  # it is not asked again at once
            for stream in streams:
                await stream.aclose(cancel=True)
