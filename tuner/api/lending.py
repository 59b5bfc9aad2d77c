"""Trials that a service lends: what a program says over HTTP, and is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tuner.api.external import GRACE_S, Heard
from tuner.errors import StudyError
from tuner.record.client import ServiceAnswer, ServiceClient

_WAITS_FOR_S = 20.0  # at a time: whoever is between may close a connection that is silent for longer
_ON_RECORD, _NOTHING, _REFUSED, _OVER = 202, 204, 409, 410


class ServiceLender:
    """A service that lends the trials of one study."""

    def __init__(self, service: ServiceClient, study: str) -> None:
        self._service, self._study = service, study

    def say(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        *,
        by: str,  # noqa: ARG002  # the service goes by the token
        why: str = "",
        wait_s: float = 0.0,  # noqa: ARG002  # and by its own patience
    ) -> Heard | None:
        """Says it to the service, which answers as the coordinator has; None where that is on record for the next."""
        if verb == "ask":
            return self._asked(arguments)
        given = {name: _plain(value) for name, value in arguments.items() if name != "trial" and value is not None}
        where = ("trials", str(arguments["trial"]), "reports" if verb == "report" else "tell")
        said = self._said(*where, body=given if verb == "report" else {**given, "why": why})
        if said.status == _ON_RECORD:
            return None
        return Heard(state="rejected" if said.status == _REFUSED else "applied", words=said.words)

    def is_over(self) -> bool:
        """Never known beside an answer, which says it itself."""
        return False

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _asked(self, arguments: Mapping[str, Any]) -> Heard:
        wait_s = min(arguments["wait_s"], _WAITS_FOR_S)
        given = {name: value for name, value in arguments.items() if name != "pid" and value is not None}
        said = self._said("ask", body={**given, "wait_s": wait_s}, wait_s=wait_s)
        if said.status == _NOTHING:
            return Heard(state="expired", words={"why": said.why})
        if said.status == _OVER:
            return Heard(state="expired", words={**said.words, "over": True})
        if said.status == _REFUSED and said.words.get("code") == "study":  # it lends none, whoever asks
            raise StudyError(str(said.words.get("why", "")))
        return Heard(state="rejected" if said.status == _REFUSED else "applied", words=said.words)

    def _said(self, *where: str, body: Mapping[str, Any], wait_s: float = 0.0) -> ServiceAnswer:
        return self._service.post("studies", self._study, *where, body=body, wait_s=wait_s + GRACE_S)


def _plain(given: Any) -> Any:
    """Scores as JSON can hold them: what is no number in words."""
    if isinstance(given, float) and not math.isfinite(given):
        return "nan" if math.isnan(given) else "inf" if given > 0 else "-inf"
    if isinstance(given, Mapping):
        return {name: _plain(value) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return [_plain(value) for value in given]
    return given
