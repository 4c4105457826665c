"""The parts of the measure: virtual time, loudspeakers, clients, scenario files, made sounds, the judge."""

import asyncio
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.turns import clients, judge, plot, scenario, sounds, virtual
from bench.turns.figures import rate_per_hour
from bench.turns.loudspeaker import Loudspeaker, Stretch
from bench.turns.policies import find
from bench.turns.reference import reference
from bench.turns.scene import Made, Played
from bench.turns.store import Store, digest

from duologue.core.notices import OutputHeld, OutputResumed, SpeechBegan


def tone(ms: int) -> "clients.Sound":
    return np.full(16 * ms, 1_000, np.int16)


# --- time ---
def test_an_hour_of_virtual_time_takes_no_time() -> None:
    async def wait() -> float:
        before = virtual.now_ms()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(3_600))
            tasks.create_task(asyncio.sleep(1_800))
        return virtual.now_ms() - before

    assert virtual.run(wait()) == pytest.approx(3_600_000)


def test_waiting_for_what_never_comes_is_an_error() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="stands still"):
        virtual.run(wait())


# --- loudspeakers ---
def test_a_loudspeaker_plays_one_thing_after_another() -> None:
    speaker = Loudspeaker()
    speaker.play(160, tone(20), "a")
    speaker.play(200, tone(20), "a")
    assert speaker.stretches == [Stretch(10, 50, "a")]
    assert np.count_nonzero(speaker.sound(0, 2_000)) == 640
    assert not speaker.sound(-320, 0).any()


def test_what_is_cut_is_not_played_and_given_back() -> None:
    speaker = Loudspeaker()
    speaker.play(0, tone(100), "a")
    kept = speaker.cut(16 * 30, fade=16 * 20)
    assert [(len(sound), reply) for sound, reply in kept] == [(16 * 70, "a")]
    assert speaker.stretches == [Stretch(0, 50, "a")]
    faded = speaker.sound(16 * 30, 16 * 50)
    assert faded[0] > faded[160] > faded[-1]


# --- clients ---
class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


HELD, RESUMED = OutputHeld("r", "i", 100, 0), OutputResumed("r", "i", 100)


def played_until(client: clients.Client) -> float:
    return client.speaker.stretches[-1].end_ms


def told_of_a_hold(kind: str) -> tuple[clients.Client, Clock]:
    """A client that has 120 ms in hand and is at 40 of them."""
    clock = Clock()
    client = clients.CLASSES[kind](clock)
    client.sound("r", 0, "i", tone(120).tobytes())
    clock.now = 40
    client.tell(HELD)
    return client, clock


def test_a_stock_client_plays_out_its_lead_until_it_is_told_of_speech() -> None:
    client, clock = told_of_a_hold("stock")
    assert played_until(client) == 120
    clock.now = 100
    client.tell(SpeechBegan("i", 0))
    assert played_until(client) == 100


def test_an_extended_client_fades_within_20_ms_and_goes_on_where_it_was() -> None:
    client, clock = told_of_a_hold("v1")
    assert played_until(client) == 60
    clock.now = 500
    client.tell(RESUMED)
    client.sound("r", 0, "i", tone(20).tobytes())
    assert client.speaker.stretches[1:] == [Stretch(500, 600, "r")]


def test_an_extended_client_that_is_told_of_speech_forgets_what_it_kept() -> None:
    client, clock = told_of_a_hold("v1")
    client.tell(SpeechBegan("i", 0))
    clock.now = 500
    client.tell(RESUMED)
    assert played_until(client) == 60


def test_nothing_is_taken_back_from_a_track() -> None:
    client, _ = told_of_a_hold("webrtc")
    client.tell(SpeechBegan("i", 0))
    assert client.speaker.stretches == [Stretch(40, 160, "r")]


def test_the_lead_of_webrtc_is_the_transports() -> None:
    webrtc = pytest.importorskip("duologue.transports.webrtc")
    assert webrtc.LEAD_MS == clients.WEBRTC_LEAD_MS


# --- scenario files ---
def test_the_scenarios_cover_what_they_must() -> None:
    found = scenario.load()
    assert len(found) >= 60
    wanted = "question pause list noise babble cough backchannel barge-in thinking double-talk echo two-turns silence"
    assert set(wanted.split()) == set(scenario.groups(found))
    assert {one.client for one in found} == set(clients.CLASSES)
    echoes = {one.echo.gain_db for one in found if one.echo is not None}
    assert {-6, -12, -20} <= echoes


def test_a_scenario_is_spread_over_its_values(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text(
        """
- name: a pause of {ms}
  group: pause
  for: {ms: [400, 900]}
  user:
    - {say: {kind: intent, index: 1, pauses: [{at: 0.5, ms: "{ms}"}]}, at_ms: 300}
    - {say: {cough: 3}, after_reply_ms: 100}
  expect: {not_cut: true}
"""
    )
    first, second = scenario.load("some", tmp_path)
    assert (first.name, second.name) == ("a pause of 400", "a pause of 900")
    assert second.user[0].say.pauses == (scenario.Pause(0.5, 900),)
    assert [cue.is_turn for cue in second.user] == [True, False]
    assert scenario.load("*of 900", tmp_path) == [second]
    assert scenario.load("other", tmp_path) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- {name: x, group: y, expect: {not_cutt: true}}", "not_cutt"),
        ("- {name: x, group: y}\n- {name: x, group: y}", "twice"),
        ("- {name: 'x {z}', group: y}", "z"),
    ],
)
def test_what_has_no_meaning_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(scenario.ScenarioError, match=says):
        scenario.load("*", tmp_path)


# --- sounds ---
def test_a_pause_is_put_in_between_words() -> None:
    random = np.random.default_rng(1)
    loud = (random.standard_normal(16 * 600) * 4_000).astype(np.int16)
    hush = (random.standard_normal(16 * 80) * 10).astype(np.int16)
    speech = np.concatenate((loud, hush, loud))
    paused = sounds.with_pause(speech, 0.4, 800)
    assert len(paused) == len(speech) + 16 * 800
    found = reference(paused)
    assert found is not None
    assert found.pause_ms == pytest.approx(880, abs=40)


def test_coughs_differ_and_are_short() -> None:
    one, other = sounds.cough(1), sounds.cough(2)
    assert not np.array_equal(one[:1_000], other[:1_000])
    assert np.array_equal(one, sounds.cough(1))
    assert 400 < len(sounds.cough(1)) / 16 < 1_000


def test_noise_lies_as_far_below_speech_as_is_stated() -> None:
    loud = sounds.at_level(sounds.coloured(sounds.PINK, 1_000, 1), -40)
    rms = np.sqrt(((sounds.to_pcm(loud) / 32_768.0) ** 2).mean())
    assert 20 * np.log10(rms) == pytest.approx(-40, abs=0.2)


# --- the judge ---
SCENE = scenario.Scenario("x", "barge-in", user=(scenario.Cue(scenario.Saying()),) * 2)


def played(**what: object) -> Played:
    """A question until 1 000, its answer from 1 500, and speech over it from 3 000 to 4 000."""
    usual = Played(
        SCENE,
        (Made(300, 1_000, is_turn=True), Made(3_000, 4_000, is_turn=True)),
        (Stretch(1_500, 3_150, "a"), Stretch(4_600, 9_000, "b")),
        ((1_500, "a"), (4_600, "b")),
        ((3_400, "a"),),
        (300, 3_400),
        (1_500, 4_600),
        9_000,
    )
    return replace(usual, **what)  # type: ignore[arg-type]


def expecting(**what: object) -> scenario.Scenario:
    return replace(SCENE, expect=scenario.Expect(**what))  # type: ignore[arg-type]


def test_a_barge_in_lasts_from_the_onset_of_speech_to_the_last_sample_heard() -> None:
    found = judge.judge(played(scenario=expecting(interrupts=True, silent_within_ms=200)))
    assert found.failed == ()
    assert found.barge_in_ms == 150
    slow = played(stretches=(Stretch(1_500, 3_150, "a"), Stretch(3_300, 3_400, "a")))
    assert judge.judge(slow).barge_in_ms == 400, "what is heard again was not silent"


def test_an_answer_that_goes_on_was_not_interrupted() -> None:
    on = played(
        scenario=expecting(interrupts=True),
        stretches=(Stretch(1_500, 3_150, "a"), Stretch(4_200, 9_000, "a")),
        stopped=(),
    )
    assert judge.judge(on).failed == ("not interrupted",)
    kept = replace(on, scenario=expecting(not_interrupted=True, resumes_within_ms=1_500))
    assert judge.judge(kept).failed == ()
    assert judge.judge(kept).holds == 1
    late = replace(on, scenario=expecting(resumes_within_ms=100))
    assert judge.judge(late).failed == ("not resumed within 100 ms",)


def test_an_answer_within_a_turn_is_a_cut() -> None:
    early = played(began=((700, "a"), (4_600, "b")), scenario=expecting(not_cut=True))
    assert judge.judge(early).failed == ("cut off",)


def test_a_turn_that_nobody_takes_is_lost() -> None:
    found = judge.judge(
        played(began=((1_500, "a"),), commits=(1_500,), scenario=expecting(answered_within_ms=900))
    )
    assert found.lost
    assert found.failed == ("lost", "never answered")


def test_being_told_of_speech_where_nobody_speaks_is_a_self_trigger() -> None:
    found = judge.judge(played(speech=(300, 2_000, 3_400, 6_000)))
    assert found.self_triggers == 2


def test_no_event_in_some_hours_has_a_bound() -> None:
    assert rate_per_hour(0, 2.0) == {
        "events": 0,
        "hours": 2.0,
        "per_hour": 0,
        "per_hour_below": 1.5,
    }
    assert rate_per_hour(4, 2.0)["per_hour"] == 2


# --- the rest ---
def test_what_was_found_is_there_for_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "found.sqlite"
    first = Store(path)
    assert first.get(digest("a", b"b")) is None
    first.put(digest("a", b"b"), "words")
    first.save()
    assert Store(path).get(digest("a", b"b")) == "words"
    assert Store(path).get(digest("ab", b"")) is None


def test_policies_have_names() -> None:
    assert find("fixed-700").policy.silence_ms == 700
    assert find("balanced").family == "presets"
    with pytest.raises(KeyError):
        find("rude")


def test_the_picture_shows_every_point() -> None:
    points = [
        plot.Point(f"fixed-{ms}", "fixed silence", ms + 100, 30_000 / ms) for ms in (500, 800)
    ]
    picture = plot.svg([*points, plot.Point("balanced", "presets", 450, 8)])
    drawn = ET.fromstring(picture)
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}circle")) == 3
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}polyline")) == 1
