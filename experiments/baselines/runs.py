"""What a method's run is, and what it is allowed to be."""

from dataclasses import dataclass, field

RECORD, LOG, RESTORED = "record.json", "log.txt", "restored"
TIMING = (
    "Seconds: wall time of the method's own process. It restores one picture (not counted: caches "
    "warm up), the same one again, then all. s/image = (T(all) - T(one)) / (images - 1); "
    "loading = T(one) - s/image."
)


@dataclass
class Run:
    """What became of a method.

    Attributes:
        state: ``done``, ``absent``, ``crashed``, ``timed out``, ``incomplete`` or ``given``
            (images that were there already).
        reason: Why it is not ``done``, one clause.
        images: How many outputs can be compared.
        wanted: How many inputs there were.
        seconds_per_image: See :data:`TIMING`; None where it was not measured.
        loading_seconds: Likewise.
        values: Column -> figure.
        faults: Kind -> stems that differ from what was wanted.
    """

    state: str
    reason: str = ""
    images: int = 0
    wanted: int = 0
    seconds_per_image: float | None = None
    loading_seconds: float | None = None
    values: dict[str, float] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)

    @property
    def scorable(self) -> bool:
        return self.state in ("done", "given") and self.images > 0


@dataclass(frozen=True)
class Settings:
    """How methods are run: seconds after which one is ended (None: never), whether it is timed, and
    which differences of its outputs are allowed."""

    timeout: float | None = None
    timing: bool = True
    allow: tuple[str, ...] = ()
