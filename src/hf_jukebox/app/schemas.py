"""The requests of the interface, checked before anything else sees them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

_Name = Annotated[str, Field(max_length=500)]
_Lyrics = Annotated[str, Field(max_length=100_000)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Levels = Annotated[list[Annotated[int, Field(ge=0, le=15)]], Field(min_length=1, max_length=16)]
_Seed = Annotated[int, Field(ge=0, lt=2**63)]

EXAMPLE = "example"  # the name of the shipped prompt


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Settings(_Body):
    """Labels and settings of a stretch of music; those left out keep their values, or are the model's defaults."""

    artist: _Name | None = None
    genre: _Name | None = None
    lyrics: _Lyrics | None = None
    temperature: Annotated[float, Field(gt=0, le=10)] | None = None
    top_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    seed: _Seed | None = None


class NewRun(Settings):
    """Body of `POST /v1/runs`.

    Args:
        prompt: Id of an uploaded prompt, `"example"` for the shipped one, or None to make a song up.
        prompt_seconds: Length of its start to use; all of it by default.
        seconds: Length of the whole result, prompt included.
        candidates: Songs to sample.
        levels: Levels to sample; all by default.
    """

    prompt: Annotated[str, Field(max_length=100)] | None = None
    prompt_seconds: _Seconds | None = None
    seconds: _Seconds = 10.0
    candidates: Annotated[int, Field(ge=1)] = 1
    levels: _Levels | None = None
    total_seconds: _Seconds | None = None
    offset_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    title: Annotated[str, Field(max_length=100)] = ""


class Continuation(Settings):
    """Body of `POST /v1/runs/{id}/continue`."""

    seconds: _Seconds
    candidates: Annotated[int, Field(ge=1)] = 1
    levels: _Levels | None = None


class Upsampling(Settings):
    """Body of `POST /v1/runs/{id}/upsample`."""


class Pick(_Body):
    """Body of `POST /v1/runs/{id}/pick`."""

    candidate: Annotated[int, Field(ge=0)]


class Back(_Body):
    """Body of `POST /v1/runs/{id}/back`."""

    step: Annotated[int, Field(ge=0)]


class Pending(BaseModel):
    """Work that a run waits for, as its file `job.json` keeps it.

    Args:
        action: What to do.
        body: The request.
        steps: Steps of the run before it; if the run has more, the work has begun and is resumed.
        queued: Time at which it was queued, which orders the queue.
    """

    action: Literal["sample", "continue", "upsample", "resume"]
    body: dict[str, Any] = Field(default_factory=dict)
    steps: int = 0
    queued: float = 0.0

    @classmethod
    def of(cls, body: NewRun | Continuation | Upsampling, steps: int) -> Self:
        """Return the work that a request asks for."""
        action = {NewRun: "sample", Continuation: "continue", Upsampling: "upsample"}[type(body)]
        return cls(action=action, body=body.model_dump(exclude_defaults=True), steps=steps)  # type: ignore[arg-type]

    def request(self) -> NewRun | Continuation | Upsampling | None:
        """Return the request; None for `resume`."""
        kinds = {"sample": NewRun, "continue": Continuation, "upsample": Upsampling}
        return kinds[self.action].model_validate(self.body) if self.action in kinds else None  # type: ignore[attr-defined]


class Job(BaseModel):
    """Content of `job.json`, which the app keeps beside a run."""

    title: str = ""
    created: float = 0.0
    pending: Pending | None = None
    stopped: bool = False
    error: str = ""
    remarks: list[str] = Field(default_factory=list, max_length=100)
    parent: str = ""
    origin: str = ""
    prompt: str = ""
