"""What is told of each engine, at `/ready`, `/v1/health` and `/metrics`."""

from pydantic import BaseModel, Field


class EngineState(BaseModel):
    """One engine, on its way up and at work."""

    role: str = Field(description="vad, stt, llm, tts or turn")
    name: str
    state: str = Field(description="waiting, loading, ready or failed")
    about: str = ""
    took_s: float | None = None
    error: str | None = Field(default=None, description="why it failed, and what to do about it")
    resting: bool = Field(
        default=False, description="it failed lately, and is passed over while there is another"
    )
    lost: int = Field(default=0, description="streams or answers that it broke off or hung on")
    streams: int | None = Field(default=None, description="open ones; none where it has no streams")
    restarts: int = Field(default=0, description="processes of it that were started again")
    rung: int = Field(
        default=0, description="how often it had to become smaller for want of memory"
    )
    out_of_memory: int = Field(default=0, description="how often memory ran out")
    pids: list[int] = Field(default_factory=list, description="its own processes")
    ram_mib: int | None = Field(default=None, description="resident memory that its load took")
