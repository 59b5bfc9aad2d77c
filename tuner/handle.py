"""What a person holds to steer a running study from any process: every verb is one row in `requests`."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping
from typing import Any

from tuner.errors import StudyError
from tuner.places import Place
from tuner.reading import Study
from tuner.store import Store

_ANSWER_WITHIN_S = 15.0


class Handle:
    """Steers a running sweep. Each verb returns once the coordinator has carried it out, with what it did in words."""

    def __init__(self, place: Place, store: Store) -> None:
        """Use `tuner.attach`."""
        self._place, self._store = place, store
        self.name = place.name

    @property
    def study(self) -> Study:
        """The study as it is now."""
        return Study(self._place, Store.open(self._place.existing()))

    def pause(self, why: str = "") -> str:
        """Starts no further trial; those that train stand still between two steps."""
        return self._ask("pause", {}, why)

    def resume(self, why: str = "") -> str:
        """Goes on after `pause`."""
        return self._ask("resume", {}, why)

    def stop(self, why: str = "") -> str:
        """Ends the sweep: running trials stop after their present step, everything is kept."""
        return self._ask("stop", {}, why)

    def stop_trial(self, trial: int, why: str = "") -> str:
        """Ends one trial; its worker takes the next."""
        return self._ask("stop_trial", {"trial": trial}, why)

    def add(self, settings: Mapping[str, Any], why: str = "") -> str:
        """Trains these settings next."""
        return self._ask("add", {"settings": dict(settings)}, why)

    def set_box(self, why: str = "", **ranges: tuple[float, float]) -> str:
        """Searches between these bounds from the next trial on: `set_box(learning_rate=(0.01, 0.1))`."""
        return self._ask("set_box", {"ranges": {name: list(bounds) for name, bounds in ranges.items()}}, why)

    def set_parallel(self, parallel: int, why: str = "") -> str:
        """Changes how many trials train at a time."""
        return self._ask("set_parallel", {"parallel": parallel}, why)

    def note(self, text: str, trial: int | None = None) -> str:
        """Writes a note into the study's record."""
        return self._ask("note", {"text": text, "trial": trial}, "")

    def close(self) -> None:
        """Lets go of the database."""
        self._store.close()

    def _ask(self, verb: str, arguments: dict[str, Any], why: str) -> str:
        if self._store.holder(time.time()) is None:
            raise StudyError(
                f"{self.name} is not running, so nobody would carry out {verb!r}. Start its command again."
            )
        request = self._store.request(verb, arguments, by=getpass.getuser(), why=why)
        deadline = time.monotonic() + _ANSWER_WITHIN_S
        while time.monotonic() < deadline:
            answer = self._store.answer(request)
            if answer is not None and answer.state == "rejected":
                raise StudyError(f"{self.name} refused to {verb}: {answer.detail}")
            if answer is not None:
                return answer.detail
            time.sleep(0.01)
        raise StudyError(
            f"{self.name} has not answered {verb!r} for {_ANSWER_WITHIN_S:g} s. The request {request} stays on record "
            "and is carried out when its coordinator gets to it."
        )
