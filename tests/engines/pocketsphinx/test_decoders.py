"""Decoders: who gets which, what becomes of a broken one, and how much is kept. All of them are real."""

import gc
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np
import pocketsphinx
import psutil
import pytest
import soxr

from duologue.core.errors import AtCapacity, EngineLost, EngineUnavailable
from duologue.engines.base import StreamCancelled
from duologue.engines.pocketsphinx import decoders
from duologue.engines.pocketsphinx.decoders import (
    LONGEST_SEARCHED,
    MAX_REMEMBERED,
    AssistantSearches,
    Decoder,
    Decoders,
    DictationSearch,
    Utterances,
    make,
)
from duologue.engines.pocketsphinx.hints import Phrases
from tests.engines.pocketsphinx.listening import (
    AUSTEN,
    CLUBS,
    DIGITS,
    LOUD,
    RATE,
    SOMETHING,
    right_words,
    speech,
    transcript,
)
from tests.support.clips import clip

TEA: Phrases = (("tea",),)
SEVEN: Phrases = (("seven", "of", "clubs"),)

numbers = count()


def fresh() -> Phrases:
    """Hints that nobody gave before: letters are words."""
    return ((*"".join(chr(97 + int(digit)) for digit in str(next(numbers))), "hint"),)


def used(pool: Decoders, hints: Phrases = ()) -> Decoder:
    with pool.lease(hints) as utterances:
        return utterances.decoder


def hear(utterances: Utterances, pcm: bytes) -> str:
    for at in range(0, len(pcm), 1024):
        utterances.feed(pcm[at : at + 1024])
    return utterances.finish()


# --- who gets which ---
def test_no_more_are_leased_than_there_may_be_and_a_place_comes_back(
    searches: AssistantSearches,
) -> None:
    pool = Decoders(searches.search, 2)
    with pool.lease(()) as one, pool.lease(()) as two:
        assert one.decoder is not two.decoder
        with pytest.raises(AtCapacity) as full, pool.lease(()):
            pass
        assert full.value.code == "stt_at_capacity"
    assert used(pool) in (one.decoder, two.decoder)


def test_an_idle_decoder_with_the_same_hints_is_used_again(searches: AssistantSearches) -> None:
    pool = Decoders(searches.search, 3)
    plain, tea = used(pool), used(pool, TEA)
    assert plain is not tea
    assert used(pool, (("tea",),)) is tea
    assert used(pool) is plain
    assert used(pool, SEVEN) not in (plain, tea)


def test_the_one_idle_longest_makes_room(searches: AssistantSearches) -> None:
    pool = Decoders(searches.search, 2)
    plain, tea = used(pool), used(pool, TEA)
    assert used(pool) is plain  # now it is tea that has been idle longest
    seven = used(pool, SEVEN)
    assert used(pool) is plain
    assert used(pool, SEVEN) is seven
    assert used(pool, TEA) is not tea


def test_no_more_are_kept_than_there_may_be(searches: AssistantSearches) -> None:
    made: list[Phrases] = []

    def search(hints: Phrases) -> decoders.Search:
        made.append(hints)
        return searches.search(hints)

    pool = Decoders(search, 2)
    pool.fill(2)
    assert made == [(), ()]
    with ExitStack() as both:
        both.enter_context(pool.lease(()))
        both.enter_context(pool.lease(TEA))  # in place of the second idle one
        assert made == [(), (), TEA]
    with pool.lease(()), pool.lease(()):
        assert made == [(), (), TEA, ()]


# --- what becomes of a broken one ---
def test_a_decoder_that_fails_is_thrown_away_and_its_place_is_not_lost(
    searches: AssistantSearches,
) -> None:
    pool = Decoders(searches.search, 1)
    broken: list[Decoder] = []

    def fail() -> None:
        with pool.lease(()) as utterances:
            broken.append(utterances.decoder)
            utterances.decoder.start_utt()  # behind its back, so that its own start is refused
            utterances.feed(bytes(1024))

    for _ in range(3):
        with pytest.raises(EngineLost) as lost:
            fail()
        assert lost.value.code == "pocketsphinx_failed"
        with pool.lease(()) as utterances:
            assert utterances.decoder not in broken
            assert hear(utterances, speech(SOMETHING)).startswith("go somewhere")


def test_one_that_fails_when_its_stream_breaks_off_is_thrown_away_too(
    searches: AssistantSearches,
) -> None:
    pool = Decoders(searches.search, 1)
    broken: list[Decoder] = []

    def fail() -> None:
        with pool.lease(()) as utterances:
            broken.append(utterances.decoder)
            utterances.feed(bytes(1024))
            utterances.decoder.end_utt()
            raise StreamCancelled

    with pytest.raises(EngineLost):
        fail()
    assert used(pool) not in broken


def test_a_stream_that_breaks_off_leaves_its_decoder_as_good_as_new(
    searches: AssistantSearches,
) -> None:
    pool = Decoders(searches.search, 1)
    with pool.lease(()) as utterances:
        expected = hear(utterances, speech(SOMETHING))

    def break_off() -> None:
        with pool.lease(()) as utterances:
            utterances.feed(speech(DIGITS)[:40_000])
            raise StreamCancelled

    with pytest.raises(StreamCancelled):
        break_off()
    with pool.lease(()) as again:
        assert again.decoder is utterances.decoder
        assert (again.text(), again.finish()) == ("", "")
        assert hear(again, speech(SOMETHING)) == expected


def test_a_search_that_cannot_be_had_costs_no_place(searches: AssistantSearches) -> None:
    def search(hints: Phrases) -> decoders.Search:
        if hints:
            raise EngineLost("no", "Not now.")
        return searches.search(hints)

    pool = Decoders(search, 1)
    for _ in range(2):
        with pytest.raises(EngineLost), pool.lease(TEA):
            pass
    assert used(pool) is not None


def test_what_it_learnt_of_one_speaker_is_not_held_against_the_next(
    searches: AssistantSearches,
) -> None:
    pool = Decoders(searches.search, 1)
    with pool.lease(()) as utterances:
        expected = hear(utterances, speech(SOMETHING))
    for pcm in (3 * LOUD, speech(AUSTEN), bytes(3 * 2 * RATE)):
        with pool.lease(()) as other:
            hear(other, pcm)
        with pool.lease(()) as again:
            assert again.decoder is utterances.decoder
            assert hear(again, speech(SOMETHING)) == expected


def test_streams_side_by_side_hear_what_each_hears_alone(searches: AssistantSearches) -> None:
    """Their decoders share one language model."""
    pool = Decoders(searches.search, 3)
    names = (SOMETHING, CLUBS)
    together: dict[str, str] = {}
    begin = threading.Barrier(len(names))

    def listen(name: str) -> None:
        begin.wait(10)
        with pool.lease(SEVEN) as utterances:
            together[name] = hear(utterances, speech(name))

    threads = [threading.Thread(target=listen, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for name in names:
        with pool.lease(SEVEN) as utterances:
            assert together[name] == hear(utterances, speech(name))


# --- sound ---
@pytest.mark.parametrize("pcm", [b"", b"\1", b"\1\2\3", b"\xff\x7f" * 10_001])
def test_scraps_of_sound_do_no_harm(searches: AssistantSearches, pcm: bytes) -> None:
    with Decoders(searches.search, 1).lease(()) as utterances:
        for _ in range(3):
            utterances.feed(pcm)
        assert utterances.text() == ""
        assert utterances.finish() == ""
        utterances.feed(pcm)
        utterances.abandon()
        assert hear(utterances, speech(SOMETHING)).startswith("go somewhere")


def test_a_long_utterance_ends_as_fast_as_a_short_one(searches: AssistantSearches) -> None:
    with Decoders(searches.search, 1).lease(()) as utterances:
        for pcm, least in ((bytes(40 * 2 * RATE), 0), (speech(DIGITS) * 3, 36)):
            utterances.feed(pcm)
            began = time.thread_time()
            text = utterances.finish()
            took_s = time.thread_time() - began  # the alternatives of 40 s of silence: 1 s
            assert took_s < 0.5
            assert len(pcm) > 2 * LONGEST_SEARCHED
            assert right_words(transcript(DIGITS) * 3, text) >= least
        assert hear(utterances, speech(SOMETHING)).startswith("go somewhere")


# --- what is kept ---
def test_a_bounded_number_of_hinted_models_is_remembered() -> None:
    searches = AssistantSearches()
    process = psutil.Process()
    pool = Decoders(searches.search, 2)
    for _ in range(MAX_REMEMBERED):
        used(pool, fresh())
    gc.collect()
    before = process.memory_info().rss
    for _ in range(MAX_REMEMBERED):
        used(pool, fresh())
    gc.collect()
    assert searches.search.cache_info().currsize == MAX_REMEMBERED
    assert process.memory_info().rss - before < 16 * 2**20  # 2 MiB each, were they kept: 32


def test_hints_given_again_are_not_worked_out_again(searches: AssistantSearches) -> None:
    assert searches.search(TEA) is searches.search((("tea",),))
    assert searches.search(TEA) is not searches.search(SEVEN)


def test_no_file_is_left(
    searches: AssistantSearches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    written: list[Path] = []
    write = Path.write_bytes

    def noting(path: Path, content: bytes) -> int:
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", noting)
    assert used(Decoders(searches.search, 1), fresh())
    search = searches.search(())
    with pytest.raises(KeyError):
        make(decoders.Search(search.model, search.dictionary, {"no such": 1}))
    assert len(written) == 3
    assert all(path.is_relative_to(tmp_path) for path in written)
    assert list(tmp_path.iterdir()) == []


# --- what may be missing ---
def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(EngineUnavailable) as missing:
        AssistantSearches()
    assert missing.value.code == "pocketsphinx_missing"
    assert missing.value.remedy


@pytest.mark.parametrize("kind", [AssistantSearches, DictationSearch])
def test_without_its_models_it_says_so(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pocketsphinx, "get_model_path", lambda name: str(tmp_path / name))
    with pytest.raises(EngineUnavailable) as missing:
        kind()
    assert missing.value.code == "pocketsphinx_model_missing"
    (tmp_path / "en-us").mkdir()
    for name in ("en-us.lm.bin", "cmudict-en-us.dict"):
        (tmp_path / "en-us" / name).write_text("hello HH AH L OW\n")
    with pytest.raises(EngineLost) as broken:
        kind()
    assert broken.value.code == "pocketsphinx_failed"


# --- what the searches know ---
def test_hinted_words_are_added_as_far_as_they_can_be_said(searches: AssistantSearches) -> None:
    known = (
        searches.search((("zigbee", "x" * 30, "lumos"), ("q" * 30,)))
        .dictionary.decode()
        .splitlines()
    )
    added = set(known) - set(searches.search(()).dictionary.decode().splitlines())
    assert {line.split()[0] for line in added} == {"zigbee", "lumos", "lumos(2)"}


def test_dictation_knows_most_words_whatever_is_hinted_at() -> None:
    search = DictationSearch().search
    assert search(()) is search(TEA)
    words = {line.split(b" ")[0] for line in search(()).dictionary.splitlines()}
    assert len(words) > 60_000
    assert {b"concord", b"surpassed", b"the(2)"} <= words


def test_nothing_coarse_is_guessed_unless_it_is_hinted(searches: AssistantSearches) -> None:
    coarse = "shit"
    assert f"\n{coarse} ".encode() not in searches.search(()).dictionary
    assert f"\n{coarse} ".encode() in searches.search(((coarse, "tzu"),)).dictionary


def test_what_the_first_pass_heard_is_kept_where_no_alternative_reaches_the_end(
    searches: AssistantSearches,
) -> None:
    hints: Phrases = (("queen", "of", "clubs"), *SEVEN, ("ace", "of", "hearts"))
    said = soxr.resample(np.frombuffer(clip(CLUBS, 24_000), np.int16), 24_000, RATE)
    sound = bytes(2 * 24 * RATE // 1000) + said.astype("<i2").tobytes()
    pool = Decoders(searches.search, 1)
    for end_ms in range(1548, 1600, 8):  # as a session cuts it; some of these lattices have no path
        with pool.lease(hints) as utterances:
            assert hear(utterances, sound[: 2 * end_ms * RATE // 1000]) == "seven of clubs"
