"""Setting, asking after and taking back timers and reminders by voice."""

import re
from collections.abc import Sequence
from functools import partial
from typing import cast

from duologue.engines.skills import timer_words
from duologue.engines.skills.durations import find_duration
from duologue.engines.skills.heard import Heard
from duologue.engines.skills.numbers import Words
from duologue.engines.skills.skill import (
    MAX_UNKNOWN,
    Scene,
    Understood,
    capital,
    did_you_mean,
    say,
    unless_doubtful,
)
from duologue.engines.skills.spoken import count, say_whole
from duologue.engines.skills.timer_words import Kind, Wish
from duologue.engines.skills.timers import (
    MAX_S,
    MAX_TIMERS,
    NamedLater,
    TakeBack,
    Timer,
    TimerBook,
)
from duologue.ports import Delta, TextDelta

HOW_LONG = "How long should the timer be?"
WHEN = "In how long should I remind you"
WHICH = "Which one should I cancel?"
NONE_RUNS = "No timer is running."
CANNOT_CHANGE = "I can set timers, list them and cancel them, but not change them."
CANNOT_CANCEL = "I cannot take back a timer in this version; it will still be called out."

TOLD = 3
"""So many timers are told one by one."""

_MISHEARD = re.compile(r"\btime (?:or|are|her|ah)\b")
_FOLLOW_UP = re.compile(re.escape(WHEN) + r" ?(?P<label>[^?]*)\?$")


class TimerTalk:
    """The skill.

    Args:
        can_take_back: whether the session knows `TakeBack`. Where it does not, a timer cannot be cancelled,
            and asking for that is answered so.
    """

    def __init__(self, book: TimerBook, *, can_take_back: bool) -> None:
        self._book = book
        self._can_take_back = can_take_back

    def understand(self, heard: Heard, scene: Scene) -> Understood | None:
        """See `skill.Skill`."""
        words = tuple(_MISHEARD.sub("timer", heard.core).split())
        if not words:
            return None
        if reading := self._follow_up(heard, words, scene):
            return reading
        if words == ("cancel",):
            runs = bool(self._book.running(scene))
            return say(did_you_mean(heard, "cancel the timer")) if runs else None
        match timer_words.kind_of(words):
            case Kind.CANCEL:
                return self._cancel(heard, words, scene)
            case Kind.CHANGE:
                return say(CANNOT_CHANGE)
            case Kind.LIST:
                unknown = timer_words.not_of_lists(words)
                return unless_doubtful(self._list(scene), heard, unknown, "what timers are running")
            case Kind.SET:
                return self._set(heard, words, scene)

    # --- setting ---
    def _set(self, heard: Heard, words: Words, scene: Scene) -> Understood | None:
        found = find_duration(words)
        if found is None:
            return _without_length(heard, words)
        seconds, (start, end), is_certain = found
        before, after = timer_words.without_preposition(words[:start]), words[end:]
        is_reminder = timer_words.is_reminder(words)
        unknown: list[str] = []
        if is_reminder:
            label = timer_words.reminder_label((*before, *after))
        else:
            label, unknown = timer_words.timer_label(before, after)
        wish = Wish(seconds, label, is_reminder)
        if not timer_words.is_about_timers(words):
            if not timer_words.is_setting(words) and (before or after):
                return None
            unknown = [*unknown, "a timer, which was not said"]
        elif not is_certain:
            unknown = [*unknown, "a preposition that may be a number"]
        return unless_doubtful(self._start(wish, scene), heard, unknown, wish.words)

    def _start(self, wish: Wish, scene: Scene) -> Understood:
        if wish.seconds > MAX_S:
            return say(f"A timer can run for at most {say_whole(MAX_S // 3600)} hours.")
        if len(self._book.running(scene)) >= MAX_TIMERS:
            return say(f"There are {say_whole(MAX_TIMERS)} timers already; I cannot keep more.")
        return Understood(partial(self._started, wish, scene))

    def _started(self, wish: Wish, scene: Scene) -> Sequence[Delta]:
        label = timer_words.to_you(wish.label)
        timer = self._book.start(scene, wish.seconds, label, is_reminder=wish.is_reminder)
        later = NamedLater(float(timer.seconds), timer.announcement, timer.id)
        return later, TextDelta(timer.promise)

    # --- follow-ups: a question of ours is answered ---
    def _follow_up(self, heard: Heard, words: Words, scene: Scene) -> Understood | None:
        """The length that we asked for, or the timer; the question carries what was known already."""
        if scene.last_answer.endswith(WHICH) and not timer_words.is_cancelling(words):
            running = self._book.running(scene)
            named, is_all = timer_words.chosen(words, running)
            if not timer_words.not_of_choices(words, running) and (named != running or is_all):
                return self._cancel(heard, words, scene)
        found = find_duration(words)
        if found is None or len(words) - (found[1][1] - found[1][0]) > 3:
            return None
        asked = _FOLLOW_UP.search(scene.last_answer)
        if asked is not None and not timer_words.is_about_timers(words):
            return self._start(Wish(found[0], asked["label"], is_reminder=True), scene)
        if scene.last_answer.endswith(HOW_LONG):
            return self._start(Wish(found[0], "", is_reminder=False), scene)
        return None

    # --- asking ---
    def _list(self, scene: Scene) -> Understood:
        timers = self._book.running(scene)
        if not timers:
            return say(NONE_RUNS)
        told = [timer.left(scene.now) for timer in timers[:TOLD]]
        more = len(timers) - len(told)
        if more:
            told.append(f"{say_whole(more)} more {'runs' if more == 1 else 'run'}")
        start = "" if len(timers) == 1 else f"{say_whole(len(timers))} timers are running: "
        return say(capital(start + "; ".join(told)) + ".")

    # --- cancelling ---
    def _cancel(self, heard: Heard, words: Words, scene: Scene) -> Understood | None:
        timers = self._book.running(scene)
        if not timers:
            return say(NONE_RUNS)
        unknown = timer_words.not_of_choices(words, timers)
        if len(unknown) > MAX_UNKNOWN:
            return None
        named, is_all = timer_words.chosen(words, timers)
        if len(named) != 1 and not is_all:
            names = " and ".join(timer.name for timer in (named or timers)[:TOLD])
            return say(f"You have {names}. {WHICH}")
        meaning = "cancel all timers" if is_all else f"cancel {named[0].name}"
        return unless_doubtful(self._take_back(named, scene), heard, unknown, meaning)

    def _take_back(self, timers: list[Timer], scene: Scene) -> Understood:
        if not self._can_take_back:
            return say(CANNOT_CANCEL)
        return Understood(partial(self._taken_back, timers, scene))

    def _taken_back(self, timers: list[Timer], scene: Scene) -> Sequence[Delta]:
        self._book.forget(scene, timers)
        back = [cast(Delta, TakeBack(timer.id)) for timer in timers]
        if len(timers) == 1:
            return *back, TextDelta(f"{capital(timers[0].name)} is cancelled.")
        return *back, TextDelta(f"{capital(count(len(timers), 'timer'))} are cancelled.")


def _without_length(heard: Heard, words: Words) -> Understood | None:
    """A timer or reminder is wanted, but how long is not known: we ask."""
    if not timer_words.is_about_timers(words):
        return None
    by_clock = "I can only count down. " if timer_words.is_by_clock(words) else ""
    if timer_words.is_reminder(words):
        label = timer_words.to_you(timer_words.reminder_label(words, needs_lead=True))
        return say(f"{by_clock}{WHEN} {label}".rstrip() + "?")
    if timer_words.is_bare(words):
        return say(f"{by_clock}{HOW_LONG}")
    if timer_words.is_setting(words) or words[0] == "timer":
        return say(f"{by_clock}I heard: {heard.quote}. {HOW_LONG}")
    return None
