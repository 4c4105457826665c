"""One spoken turn before anybody is let in: the voice says a word, the session hears it, answers, and is heard.

Whatever is opened, compiled or connected on first use is then in use: the first turn of a real session is like the
tenth. And a server whose engines load but do not work together finds out before its users do.
"""

import asyncio
from dataclasses import dataclass, replace

from duologue.core.audio import AudioFormat
from duologue.core.capabilities import Role
from duologue.core.commands import Commit, CreateReply
from duologue.core.errors import DuologueError, EngineLost
from duologue.core.facts import AskId
from duologue.core.notices import Notice, Problem, ReplyEnded, TranscriptBroke, TranscriptDone
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.core.policy import TurnPolicy
from duologue.ports import Audio, EngineGone, Final, Say, TtsOptions
from duologue.session.meters import Meters
from duologue.session.session import Session
from duologue.session.world import World

WORDS = "Hello."
"""What the voice says, and the session hears."""

INSTRUCTIONS = "Answer with one word: hello."

MAX_TOKENS = 64
"""Of the answer: some models think first. It costs a hosted model next to nothing."""

PATIENCE_S = 120.0
"""Longest wait for the whole turn: a language model's server may load its model only now."""


@dataclass(frozen=True, slots=True)
class FirstTurn:
    """What came of it.

    Attributes:
        error: why it was none; None if it went well.
        heard: the transcript of the voice's word.
        took_s: from the end of the sound to the first sound of the answer.
    """

    error: DuologueError | None = None
    heard: str = ""
    took_s: float = 0.0


async def take(world: World) -> FirstTurn:
    """Hold the turn, in a session that no meter and no journal knows of. The pacer must be running."""
    apart = replace(world, meters=Meters(world.clock), journal=None)
    try:
        async with asyncio.timeout(PATIENCE_S):
            rate_hz, pcm = await _say(world)
            return await _converse(apart, rate_hz, pcm)
    except TimeoutError:
        message = f"The first spoken turn was not over within {PATIENCE_S:g} s."
        return FirstTurn(
            EngineLost("first_turn_timed_out", message, remedy="See which engine is slow: the log.")
        )
    except DuologueError as error:
        return FirstTurn(error)


async def _say(world: World) -> tuple[int, bytes]:
    """The word's sound, and its rate.

    Raises:
        EngineError: the voice fails.
    """
    stream = await world.pool.open(Role.TTS, "first-turn", TtsOptions())
    try:
        stream.offer(Say(0, WORDS))
        stream.flush(1)
        sound: list[bytes] = []
        async for event in stream.events():
            match event:
                case Audio(pcm=pcm):
                    sound.append(pcm)
                case EngineGone(error=error):
                    raise error
                case Final():
                    break
                case _:
                    pass
        if not sound:
            raise EngineLost("tts_silent", "The voice gave no sound.")
        return stream.rate_hz, b"".join(sound)
    finally:
        await stream.aclose(cancel=True)


class _Listener:
    """Hears the answer; see `ports.Listener`."""

    def __init__(self) -> None:
        self.error: DuologueError | None = None
        self.heard = ""
        self.over = asyncio.Event()
        self.transcribed = asyncio.Event()

    def tell(self, notice: Notice) -> None:
        match notice:
            case TranscriptDone(text=text):
                self.heard = text
                self.transcribed.set()
            case TranscriptBroke(code=code, message=message):
                self._broke(EngineLost(code, message))
            case Problem(error=error):
                self._broke(error)
            case ReplyEnded(reply=reply):
                if reply.error is not None:
                    self._broke(reply.error)
                self.over.set()
            case _:
                pass

    def sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> None:
        self.over.set()

    def unsent(self) -> int:
        return 0

    def _broke(self, error: DuologueError) -> None:
        self.error = self.error or error
        self.transcribed.set()
        self.over.set()


class _Over(Exception):
    """Ends the session's tasks."""


async def _converse(world: World, rate_hz: int, pcm: bytes) -> FirstTurn:
    loop = asyncio.get_running_loop()
    listener = _Listener()
    took_s = 0.0
    try:
        async with asyncio.TaskGroup() as tasks:
            session = Session(world, "first-turn", listener, _options(rate_hz), tasks)
            try:
                session.hear(pcm)
                began_s = loop.time()
                session.ask(Commit(AskId(1)))
                await listener.transcribed.wait()
                if listener.error is None:
                    session.ask(CreateReply(AskId(2), session.options.reply))
                    await listener.over.wait()
                took_s = loop.time() - began_s
            finally:
                session.close()
            raise _Over
    except* _Over:
        pass
    return FirstTurn(listener.error, listener.heard, took_s)


def _options(rate_hz: int) -> SessionOptions:
    """Push-to-talk: whether the word is detected as speech is not the question, and fake voices are none."""
    return SessionOptions(
        reply=ReplyOptions(instructions=INSTRUCTIONS, max_output_tokens=MAX_TOKENS),
        input_format=AudioFormat(rate_hz),
        turn=TurnPolicy(detect=False),
    )
