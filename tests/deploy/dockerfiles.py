"""Dockerfiles as their instructions, stage by stage."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

INSTRUCTIONS = frozenset(
    "ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL RUN SHELL STOPSIGNAL USER VOLUME WORKDIR".split()
)
"""All that there are, but for ADD, which fetches and unpacks unasked, and what is out of use."""


@dataclass
class Stage:
    """From one FROM to the next."""

    image: str
    name: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def of(self, instruction: str) -> list[str]:
        """What stands behind each of these."""
        return [rest for word, rest in self.lines if word == instruction]

    def last(self, instruction: str) -> str:
        """The one that counts."""
        return self.of(instruction)[-1]

    def words(self, instruction: str) -> list[str]:
        """The last one, in the form that starts no shell."""
        words: list[str] = json.loads(self.last(instruction))
        return words

    @property
    def env(self) -> dict[str, str]:
        """As a container has it."""
        pairs = (word.partition("=") for line in self.of("ENV") for word in shlex.split(line))
        return {name: value for name, _, value in pairs}

    @property
    def args(self) -> dict[str, str]:
        """The build's arguments and what they are unless told otherwise."""
        pairs = (line.partition("=") for line in self.of("ARG"))
        return {name: value.strip('"') for name, _, value in pairs}


def read(file: Path) -> list[Stage]:
    """The stages.

    Raises:
        ValueError: a line that is no instruction, or one before the first FROM.
    """
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[Stage] = []
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.partition(" ")
        if word not in INSTRUCTIONS:
            raise ValueError(f"{file.name}: {line}")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages.append(Stage(image, name))
        elif stages:
            stages[-1].lines.append((word, rest.strip()))
        else:
            raise ValueError(f"{file.name}: {line} comes before FROM")
    return stages
