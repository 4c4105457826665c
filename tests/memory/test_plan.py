"""Plans that are known: profiles, common cards, several cards, fallbacks, what is measured."""

from dataclasses import replace

import pytest

from duologue.core.capabilities import Role
from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.memory.candidates import Candidate
from duologue.memory.footprints import MIB
from duologue.memory.goals import PROFILES, ROLES, Goal
from duologue.memory.known import CANDIDATES, footprints
from duologue.memory.machine import Gpu, Machine
from duologue.memory.plan import Plan, plan


def shown(cards: str, **goal: object) -> list[str]:
    return names(plan(Machine.parse(cards), Goal(**goal)))  # type: ignore[arg-type]


def names(made: Plan) -> list[str]:
    """Each engine, without the options that stand in its flags."""
    return [choice.name.partition("?")[0] for choice in made.choices]


TURBO = "whisper:large-v3-turbo@cuda:0/int8_float16"
KOKORO = "kokoro:kokoro-v1.0@cuda:0"
QWEN = "llama-server:qwen2.5-1.5b-instruct-q4_k_m@cuda:0"
LLAMA = "vllm:llama-3.2-3b-instruct-awq@cuda:0"


def test_cards_of_8_6_and_4_gb() -> None:
    assert shown("8") == [TURBO, KOKORO, LLAMA]
    assert shown("6") == [TURBO, KOKORO, QWEN]
    assert shown("4") == ["whisper:small@cuda:0/float16", "pocket:pocket-tts@cpu", QWEN]


def test_four_sessions_on_8_gb_move_the_voice_to_the_cpu() -> None:
    assert shown("8", sessions=4) == [TURBO, "pocket:pocket-tts@cpu", LLAMA]


def test_larger_cards_have_larger_models() -> None:
    assert shown("12")[2] == "vllm:qwen2.5-7b-instruct-awq@cuda:0"
    assert shown("24")[1:] == ["csm:csm-1b@cuda:0/bf16", "vllm:qwen2.5-14b-instruct-awq@cuda:0"]


def test_three_cards_take_one_engine_each() -> None:
    ear, voice, mind = shown("3x8")
    assert (ear, voice) == ("whisper:large-v3-turbo@cuda:0/float16", "csm:csm-1b@cuda:1/bf16")
    assert mind == "llama-server:qwen2.5-7b-instruct-q4_k_m@cuda:2"


def test_without_large_gguf_files_three_cards_have_the_smaller_model_under_vllm() -> None:
    def is_large(c: Candidate) -> bool:
        return c.engine == "llama-server" and ("-3b-" in c.model or "-7b-" in c.model)

    few = [c for c in CANDIDATES if not is_large(c)]
    made = plan(Machine.parse("3x8"), candidates=few)
    assert names(made)[2] == "vllm:llama-3.2-3b-instruct-awq@cuda:2"
    assert [choice.device for choice in made.choices] == ["cuda:0", "cuda:1", "cuda:2"]


def test_no_card_is_no_hindrance() -> None:
    assert shown("0") == [
        "whisper:base@cpu/int8",
        "pocket:pocket-tts@cpu",
        "llama-server:qwen2.5-1.5b-instruct-q4_k_m@cpu",
    ]
    assert shown("24", profile="cpu") == shown("0")


def test_the_embedded_profile_needs_nothing() -> None:
    made = plan(Machine((), 2_048, 1), Goal(profile="embedded"))
    assert names(made) == ["pocketsphinx", "flite", "skills"]
    assert made.upgrade is None
    assert made.settings() == {"stt": "pocketsphinx", "tts": "flite,espeak", "llm": "skills"}


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("default", [TURBO, KOKORO, LLAMA]),
        ("optimized", ["whisper:small@cuda:0/int8_float16", KOKORO, QWEN]),
        (
            "low",
            [
                "whisper:small@cuda:0/int8_float16",
                KOKORO,
                "llama-server:qwen2.5-0.5b-instruct-q4_k_m@cuda:0",
            ],
        ),
    ],
)
def test_profiles_are_met_with_every_engine_within_its_cap(
    profile: str, expected: list[str]
) -> None:
    made = plan(Machine.parse("12"), Goal(profile=profile))
    assert names(made) == expected
    for role in ROLES:
        assert 0 < made.of(role).gpu_mib <= PROFILES[profile].caps[role]
    caps = [sheet for sheet in made.certificate if f"'{profile}'" in sheet.name]
    assert [sheet.total for sheet in caps] == [choice.gpu_mib for choice in made.choices]
    assert not [note for note in made.notes if "CPU" in note]


def test_minimal_says_that_three_processes_cannot_be_had_and_what_can() -> None:
    made = plan(Machine.parse("6"), Goal(profile="minimal"))
    assert names(made)[0] == "whisper:small@cuda:0/float16"
    assert [choice.device for choice in made.choices[1:]] == ["cpu", "cpu"]
    assert sum(choice.gpu_mib for choice in made.choices) <= 1_536
    said = " ".join(made.notes)
    assert "Three processes of 512 MiB each cannot be had" in said
    assert "recogniser on the card, voice and language model on the CPU" in said


def test_a_role_that_no_card_can_hold_within_its_cap_is_told() -> None:
    made = plan(Machine.parse("12"), Goal(profile="low", context_tokens=16_384, sessions=4))
    assert made.of(Role.LLM).device == "cpu" or made.of(Role.LLM).engine == "skills"
    assert any(note.startswith("No language model fits a card within") for note in made.notes)
    tiny = plan(Machine.parse("2"), Goal(profile="low"))
    assert any("or the machine has no room for it" in note for note in tiny.notes)


def test_a_profile_without_a_card_says_so() -> None:
    made = plan(Machine.parse("0"), Goal(profile="default"))
    assert "There is no graphics card: everything runs on the CPU." in made.notes


def test_a_budget_holds_over_all_cards() -> None:
    made = plan(Machine.parse("3x8"), Goal(budget_mib=4_096))
    assert sum(choice.gpu_mib for choice in made.choices) <= 4_096
    (sheet,) = [sheet for sheet in made.certificate if sheet.name == "all cards"]
    assert sheet.limit == 4_096
    assert sheet.slack >= 0


def test_what_counts_more_changes_the_choice() -> None:
    assert shown("3x8", aim="quality")[0] == "whisper:large-v3@cuda:0/float16"
    assert shown("3x8", aim="latency")[1] == "kokoro:kokoro-v1.0@cuda:1"


def test_languages_rule_out_who_does_not_speak_them() -> None:
    assert shown("0", languages=("en",))[0].startswith("sherpa:")
    assert shown("0", languages=("zh",))[:2] == [
        "whisper:base@cpu/int8",
        "piper:zh_CN-huayan-medium@cpu",
    ]
    said = " ".join(plan(Machine.parse("0")).notes)
    assert "--language en allows better: sherpa" in said
    only = plan(Machine((), 780, 1), Goal(languages=("zh",)))
    assert only.of(Role.STT).engine == "pocketsphinx"
    assert "pocketsphinx understands English only." in only.notes


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((8, 6), "int8_float16"), ((7, 0), "int8_float16"), ((6, 1), "int8")],
)
def test_a_card_gets_a_precision_that_it_computes_in(
    capability: tuple[int, int], precision: str
) -> None:
    card = Gpu(0, "a card", 6_144, 5_632, capability)
    made = plan(Machine((card,), 16_384, 8))
    assert made.of(Role.STT).precision == precision


def test_csm_is_in_bf16_where_the_card_has_it_and_in_fp16_where_it_has_not() -> None:
    for capability, precision in (((8, 0), "bf16"), ((7, 5), "fp16")):
        card = Gpu(0, "a card", 24_576, 24_000, capability)
        made = plan(Machine((card,), 32_768, 8))
        assert made.of(Role.TTS).argument == f"csm-1b@cuda:0/{precision}"


def test_every_argument_reads_back_as_it_was_planned() -> None:
    for cards in ("0", "4", "8", "24", "3x8"):
        made = plan(Machine.parse(cards))
        for name in [name for chain in made.chains for name in chain]:
            argument = name.partition(":")[2]
            assert str(Placement.parse(argument)) == argument
            assert "," not in name


def test_fallbacks_come_after_on_the_cpu_and_then_what_is_built_in() -> None:
    made = plan(Machine.parse("8"))
    ears, voices, minds = made.chains
    assert [name.partition("@")[0] for name in ears] == [
        "whisper:large-v3-turbo",
        "whisper:base",
        "pocketsphinx",
    ]
    assert list(voices[1:]) == ["pocket:pocket-tts@cpu", "flite", "espeak"]
    assert minds[1].startswith("llama-server:qwen2.5-1.5b-instruct-q4_k_m@cpu")
    assert minds[2] == "skills"


def test_fallbacks_are_left_out_where_the_host_has_no_memory_for_them() -> None:
    roomy = plan(Machine.parse("8", ram_mib=16_384))
    tight = plan(Machine.parse("8", ram_mib=6_400))
    assert tight.choices == roomy.choices
    assert sum(map(len, tight.chains)) < sum(map(len, roomy.chains))
    ram = next(sheet for sheet in tight.certificate if sheet.name == "host memory")
    assert ram.slack >= 0


def test_fallbacks_for_other_languages_leave_out_who_speaks_english_only() -> None:
    made = plan(Machine.parse("8"), Goal(languages=("de",)))
    assert "pocketsphinx" not in made.chains[0]
    assert "flite" not in made.chains[1]
    assert "espeak" in made.chains[1]


def test_the_upgrade_of_a_machine_without_a_card_is_a_card() -> None:
    up = plan(Machine.parse("0")).upgrade
    assert up is not None
    assert up.card == 4
    assert up.lacks_mib == ()


def test_eager_vllm_is_a_rung_and_never_planned() -> None:
    made = plan(Machine.parse("8"))
    assert "--enforce-eager" not in made.of(Role.LLM).flags
    eager = [rung for rung in made.ladder if "--enforce-eager" in rung.after.flags]
    assert eager
    assert eager[0].role is Role.LLM


def test_steps_down_end_without_any_memory_of_cards() -> None:
    for cards in ("4", "8", "24", "3x8"):
        made = plan(Machine.parse(cards))
        assert made.ladder[-1].gpu_mib == 0
        changed = [rung.after.name for rung in made.ladder]
        assert len(set(changed)) == len(changed)


def test_without_a_card_the_steps_shrink_the_hosts_memory() -> None:
    made = plan(Machine.parse("0"))
    assert names(replace_choices(made))[-1] == "flite"


def replace_choices(made: Plan) -> Plan:
    return replace(made, choices=(made.ladder[-1].after,))


class Found:
    """What `duologue calibrate` finds."""

    def __init__(self, weights_mib: int, *, uses_card: bool = True) -> None:
        self.uses_card = uses_card
        self.context_mib = 500
        self.weights_mib = weights_mib
        self.work_mib = 100
        self.per_stream_mib = 50
        self.ram_mib = 1_000
        self.p50_ms: float | None = 33.4


def test_what_was_measured_goes_before_what_was_thought() -> None:
    key = "stt:whisper:large-v3-turbo@cuda/int8_float16"
    found = footprints({key: Found(5_000), "tts:kokoro:kokoro-v1.0@cpu": Found(1), "nix": Found(1)})
    assert set(found) == {key}  # the second was measured on a card, and is of the CPU
    figures = found[key]
    assert (figures.weights.value, figures.weights.source) == (5_000, "measured")
    assert (figures.first_ms.value, figures.context.value) == (33, 500)
    before, after = plan(Machine.parse("6")), plan(Machine.parse("6"), measured=found)
    assert before.of(Role.STT).key == key
    assert after.of(Role.STT).key != key
    roomy = plan(Machine.parse("24"), measured=footprints({key: Found(700)}))
    used = [r.after for r in roomy.ladder if r.after.key == key] + list(roomy.choices)
    assert any(c.gpu_mib == 500 + 700 + 100 + 50 for c in used if c.key == key)


def test_a_measured_language_model_keeps_its_computed_cache() -> None:
    key = "llm:vllm:llama-3.2-3b-instruct-awq@cuda"
    found = footprints({key: Found(2_000)})
    known = next(c for c in CANDIDATES if c.key == key)
    assert found[key].kv_bytes == known.footprint.kv_bytes
    assert found[key].stream.value == 0


def test_what_cannot_be_is_refused_with_its_reason() -> None:
    for goal in (Goal(sessions=0), Goal(context_tokens=0), Goal(budget_mib=-1)):
        with pytest.raises(SetupError) as error:
            plan(Machine.parse("8"), goal)
        assert error.value.code == "goal_invalid"
    with pytest.raises(SetupError) as error:
        plan(Machine.parse("8"), Goal(profile="nix"))
    assert error.value.code == "profile_unknown"
    with pytest.raises(SetupError) as error:
        plan(Machine((), 2_048, 1), Goal(sessions=100))
    assert error.value.code == "plan_impossible"
    assert "--sessions" in error.value.remedy


# --- machines ---
def test_machines_that_one_thinks_of() -> None:
    three = Machine.parse("3x8")
    assert [gpu.index for gpu in three.gpus] == [0, 1, 2]
    assert {(gpu.total_mib, gpu.free_mib) for gpu in three.gpus} == {(8_192, 7_680)}
    assert [gpu.total_mib for gpu in Machine.parse("8, 24").gpus] == [8_192, 24_576]
    assert Machine.parse("0").gpus == ()
    assert Machine.parse("0.25").gpus[0].free_mib == 0
    assert Machine.parse("6", 1_000, 3) == replace(Machine.parse("6"), ram_mib=1_000, cores=3)


@pytest.mark.parametrize("text", ["", "x8", "3x", "0x8", "99x8", "eight", "8;8", "-8", "8,"])
def test_other_words_say_no_machine(text: str) -> None:
    with pytest.raises(SetupError) as error:
        Machine.parse(text)
    assert error.value.code == "cards_invalid"


def test_candidates_are_told_apart_by_their_keys() -> None:
    keys = [c.key for c in CANDIDATES if not c.is_rung_only]
    assert len(set(keys)) == len(keys)
    assert {c.role for c in CANDIDATES} == set(ROLES)
    for candidate in CANDIDATES:
        f = candidate.footprint
        assert 0 < f.weights.value < 40_000
        assert (f.kv_bytes.value > 0) == (candidate.max_tokens > 0)
        assert f.kv_bytes.value < MIB


def test_a_voice_of_one_language_is_told_and_is_that_of_the_language_asked_for() -> None:
    assert any("pocket speaks English only" in note for note in plan(Machine.parse("0")).notes)
    german = plan(Machine.parse("0"), Goal(languages=("de",)))
    assert german.of(Role.TTS).model == "de_DE-thorsten-medium"
    nobody = plan(Machine.parse("0"), Goal(languages=("cy",)))
    assert nobody.of(Role.TTS).engine == "espeak"


def test_a_budget_narrows_a_profile() -> None:
    narrow = plan(Machine.parse("24"), Goal(profile="default", budget_mib=3_000))
    wide = plan(Machine.parse("24"), Goal(profile="default", budget_mib=20_000))
    assert sum(choice.gpu_mib for choice in narrow.choices) <= 3_000
    assert wide.choices == plan(Machine.parse("24"), Goal(profile="default")).choices
