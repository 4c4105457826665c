"""Which WebSocket library carries the audio socket: the same work on each, in one run.

The job is the one a conversation makes: N connections, each sending a 20 ms append (base64 JSON, 24 kHz)
fifty times a second and being sent one of the same size back at once. The server process's own CPU time is
read from the operating system; the client is one separate process. What is compared is server CPU per
session-second, as a ratio to picows alone, in rotating order so that a drifting machine drifts for all.

    python bench/sockets.py [--sessions 40] [--seconds 8] [--rounds 3]

Source of the decision in docs/adr/0002-audio-socket.md.
"""

import argparse
import asyncio
import base64
import json
import multiprocessing as mp
import statistics
import time
from typing import Any

import psutil
import uvloop

FRAME = json.dumps(
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(960)).decode()}
).encode()
PORT = 18123


def serve_websockets() -> None:
    """The `websockets` asyncio server, its defaults but for compression."""
    from websockets.asyncio.server import serve

    async def handle(ws: Any) -> None:
        async for _ in ws:
            await ws.send(FRAME, text=True)

    async def main() -> None:
        async with serve(handle, "127.0.0.1", PORT, compression=None):
            await asyncio.Event().wait()

    uvloop.run(main())


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    text = FRAME.decode()
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": text})


def serve_uvicorn_sansio() -> None:
    """uvicorn's sans-I/O WebSocket protocol under a bare ASGI application."""
    import uvicorn

    uvicorn.run(
        _asgi,
        port=PORT,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="error",
        lifespan="off",
    )


def _picows_listener(_request: Any) -> Any:
    import picows

    class Echo(picows.WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type is picows.WSMsgType.TEXT:
                frame.get_payload_as_bytes()
                transport.send(picows.WSMsgType.TEXT, FRAME)

    return Echo()


def serve_picows() -> None:
    """picows' own server."""
    import picows

    async def main() -> None:
        server = await picows.ws_create_server(_picows_listener, "127.0.0.1", PORT)
        await server.serve_forever()

    uvloop.run(main())


def serve_uvicorn_picows() -> None:
    """picows' protocol, handed the socket by uvicorn at the upgrade: what the product does."""
    import uvicorn

    from duologue.transports.websocket import upgrade_protocol

    uvicorn.run(
        _asgi,
        port=PORT,
        ws=upgrade_protocol(_picows_listener),
        log_level="error",
        lifespan="off",
    )


SERVERS = {
    "picows alone": serve_picows,
    "picows in uvicorn": serve_uvicorn_picows,
    "uvicorn sansio": serve_uvicorn_sansio,
    "websockets": serve_websockets,
}


async def _drive(sessions: int, seconds: float) -> int:
    import picows

    got = 0

    class Count(picows.WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            nonlocal got
            got += 1

    links = [
        (await picows.ws_connect(Count, f"ws://127.0.0.1:{PORT}/x"))[0] for _ in range(sessions)
    ]
    started = time.perf_counter()
    for tick in range(int(seconds * 50)):
        for link in links:
            link.send(picows.WSMsgType.TEXT, FRAME)
        await asyncio.sleep(max(0.0, started + (tick + 1) / 50 - time.perf_counter()))
    await asyncio.sleep(0.2)
    for link in links:
        link.disconnect()
    return got


def measure(name: str, sessions: int, seconds: float) -> float:
    """Server CPU in ms per session-second."""
    server = mp.get_context("spawn").Process(target=SERVERS[name], daemon=True)
    server.start()
    try:
        _wait_for_port()
        process = psutil.Process(server.pid)
        before = sum(process.cpu_times()[:2])
        got = uvloop.run(_drive(sessions, seconds))
        spent = sum(process.cpu_times()[:2]) - before
    finally:
        server.terminate()
        server.join()
    expected = sessions * int(seconds * 50)
    if got < 0.99 * expected:
        raise SystemExit(f"{name}: only {got} of {expected} frames came back; nothing measured")
    return float(1000 * spent / (sessions * seconds))


def _wait_for_port() -> None:
    import socket

    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the server did not come up")


def main() -> None:
    """Run every library `rounds` times and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    results: dict[str, list[float]] = {name: [] for name in SERVERS}
    for _ in range(args.rounds):
        for name in SERVERS:
            results[name].append(measure(name, args.sessions, args.seconds))
    base = statistics.median(results["picows alone"])
    print(f"N={args.sessions}, {args.seconds:g} s, {args.rounds} rounds; server CPU ms/session-s")
    for name, values in results.items():
        middle = statistics.median(values)
        spread = f"{min(values):.2f}-{max(values):.2f}"
        print(f"{name:20s} {middle:5.2f} ({spread})  x{middle / base:.2f}")


if __name__ == "__main__":
    main()
