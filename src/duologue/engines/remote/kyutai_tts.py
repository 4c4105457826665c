"""Speech by Kyutai's moshi-server: streaming text in, streaming sound out, with word times; English and French.

    --tts "kyutai-tts:ws://box:8089?voice=unmute-prod-website/default_voice.wav"

The pieces of an answer up to a flush are one text on one connection, so that the voice runs through them; the model
speaks a word only once it has seen the next two, or `Eos`. The server then closes the connection, so what follows a
flush begins another.
"""

import asyncio
from dataclasses import replace

import msgspec

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineError
from duologue.engines.base import EngineSpec, Flush, NativeEngine
from duologue.engines.loading import run_apart
from duologue.engines.remote import moshi
from duologue.engines.remote.errors import bad_answer
from duologue.engines.remote.place import MAX_STREAMS, Place, parse
from duologue.engines.remote.stream import RemoteStream, finished
from duologue.engines.remote.told_words import ToldWords
from duologue.ports import Final, Say, StreamOptions, TtsOptions

PATH = "/api/tts_streaming"

MAX_UNTAKEN = 1_500
"""Frames of sound that nobody has taken, two minutes and 6 MB of it; then nothing more is read. That is many, because
a server that is not read is not answered when it pings, and gives up after half a minute."""

_OPTIONS = ("voice",)


class KyutaiTts(NativeEngine):
    """See the module.

    Args:
        argument: URL[?voice=…&streams=N]; `voice` is for streams that name none. Of a voice that it does not have
            the server says nothing, and uses its own.
    """

    def __init__(self, argument: str = "", *, patience: moshi.Patience | None = None) -> None:
        self._place = parse(argument, Role.TTS, _OPTIONS)
        self._patience = patience or moshi.Patience()
        self.capabilities = replace(SPEC.capabilities, max_streams=self._place.streams)

    def load(self) -> None:
        """Load what is needed here; the server is asked by `warm_up`."""
        import websockets.asyncio.client  # noqa: F401

    def warm_up(self) -> None:
        """Have it say a word. Blocks.

        Raises:
            EngineError: nobody answers there, or the server refuses.
        """
        run_apart(self._say_one_word())

    def open(self, key: str, options: StreamOptions) -> "_Stream":
        """A stream for one answer."""
        assert isinstance(options, TtsOptions)
        return _Stream(self._place, options, self._patience)

    async def _say_one_word(self) -> None:
        stream = self.open("", TtsOptions())
        await finished(stream, Say(0, "Hello."))


class _Stream(RemoteStream):
    """One answer."""

    def __init__(self, place: Place, options: TtsOptions, patience: moshi.Patience) -> None:
        super().__init__("kyutai-tts", moshi.RATE_HZ, MAX_UNTAKEN)
        self._place = place
        self._patience = patience
        self._pieces = 0
        voice = options.voice or place.options.get("voice", "")
        self._query = {"format": "PcmMessagePack", **({"voice": voice} if voice else {})}

    async def _work(self) -> None:
        while (item := await self._take()) is not None:
            if isinstance(item, Say):
                self._pieces += 1
                text = speakable(item.text)
                item = await self._speak(Say(item.number, text)) if text else None
            if isinstance(item, Flush):
                await self._emit(Final(item.id, self._pieces))

    async def _speak(self, first: Say) -> Flush | None:
        """Everything up to the next flush, on one connection; gives that flush."""
        words = ToldWords(moshi.RATE_HZ)
        async with (
            moshi.connected(self._place, PATH, self._query, self._patience) as socket,
            asyncio.TaskGroup() as tasks,
        ):
            hearing = tasks.create_task(self._hear(socket, words), name="kyutai-tts-hearing")
            flush = await self._send(socket, first, words)
            if flush is None:
                hearing.cancel()
        return flush

    async def _send(self, socket: moshi.Socket, piece: Say, words: ToldWords) -> Flush | None:
        await self._send_piece(socket, piece, words)
        while (item := await self._take()) is not None:
            if isinstance(item, Flush):
                await socket.send(moshi.encode({"type": "Eos"}))
                words.is_whole = True
                return item
            self._pieces += 1
            if text := speakable(item.text):
                await self._send_piece(socket, Say(item.number, text), words)
        return None

    @staticmethod
    async def _send_piece(socket: moshi.Socket, piece: Say, words: ToldWords) -> None:
        words.sent(piece.number, piece.text)
        await socket.send(moshi.encode({"type": "Text", "text": piece.text}))

    async def _hear(self, socket: moshi.Socket, words: ToldWords) -> None:
        while (said := await self._receive(socket, words)) is not None:
            match said:
                case moshi.Text(text=text, start_s=start_s, stop_s=stop_s):
                    words.told(text, start_s, stop_s)
                case moshi.Audio():
                    for audio in words.sound(self._samples(said)):
                        await self._emit(audio)
                case _:
                    pass
        for audio in words.end():
            await self._emit(audio)

    async def _receive(self, socket: moshi.Socket, words: ToldWords) -> moshi.Said | None:
        """The next; None at the end, which is right only after all was sent.

        Once all words were told it does not matter how the server closes the connection: some of its versions do so
        without a farewell.
        """
        try:
            said = await socket.receive()
        except EngineError as error:
            if words.is_whole and words.is_all_told and error.code == "tts_broke_off":
                return None
            raise
        if said is None and not words.is_whole:
            raise socket.broke_off()
        return said

    def _samples(self, audio: moshi.Audio) -> bytes:
        try:
            return moshi.samples_of(audio)
        except (msgspec.MsgspecError, ValueError) as error:
            raise bad_answer(self._place.server, str(error)) from None


def speakable(text: str) -> str:
    """A text without what cannot be printed, character for character; empty if nothing in it can be spoken."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    return clean if any(char.isalnum() for char in clean) else ""


SPEC = EngineSpec(
    "kyutai-tts",
    Role.TTS,
    Capabilities(
        languages=("en", "fr"), rate_hz=moshi.RATE_HZ, word_times=True, max_streams=MAX_STREAMS
    ),
    KyutaiTts,
    about="Kyutai's streaming voice on a moshi-server",
)
