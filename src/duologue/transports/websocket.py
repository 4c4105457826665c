import asyncio
import logging

import picows
from picows.picows import WSProtocol


def upgrade_protocol(factory):
    class Upgrade(asyncio.Protocol):
        def __init__(self, config, server_state, app_state, _loop=None):
            self.s = server_state
            self.p = None

        def connection_made(self, transport):
            self.t = transport

        def data_received(self, data):
            if self.p is None:
                self.p = p = WSProtocol(
                    None,
                    None,
                    False,
                    factory,
                    logging.getLogger("x"),
                    True,
                    5,
                    False,
                    20,
                    20,
                    picows.WSAutoPingStrategy.PING_WHEN_IDLE,
                    True,
                    32 << 20,
                    None,
                    16384,
                )
                p.connection_made(self.t)
                asyncio.get_running_loop().call_soon(self.t.set_protocol, p)
            p = self.p
            v = memoryview(data)
            while v:
                b = p.get_buffer(-1)
                n = min(len(b), len(v))
                b[:n] = v[:n]
                p.buffer_updated(n)
                v = v[n:]

    return Upgrade
