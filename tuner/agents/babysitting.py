"""The beginning of a babysat run for somebody else, in a process of its own: `python -m tuner.agents.babysitting`.

What `tuner.babysit` takes comes as JSON on standard input, and JSON goes back: the pid of the coordinator, or a code
and a sentence. The function is imported here, so that whoever begins runs for others imports none.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing
from typing import Any

from tuner.api.babysit import babysit
from tuner.errors import TunerError
from tuner.record.location import Place
from tuner.record.store import Store
from tuner.record.team import take_what_was_handed_on
from tuner.space.space import Space

_BEGINS_WITHIN_S = 60.0


def main() -> int:
    """Begins the run, and says who coordinates it."""
    take_what_was_handed_on()
    given: dict[str, Any] = json.load(sys.stdin)
    told = os.dup(1)
    os.dup2(2, 1)  # whatever a module prints when it is imported
    try:
        answer: dict[str, Any] = {"pid": _begun(given)}
    except TunerError as error:
        answer = {"code": error.code, "why": str(error)}
    with os.fdopen(told, "w") as out:
        json.dump(answer, out)
    return 0 if "pid" in answer else 1


def _begun(given: dict[str, Any]) -> int | None:
    """The pid of the coordinator; None where the run is over already."""
    described = given.pop("space")
    space = None if described is None else Space.from_dict(described)
    params = given.pop("params") or None
    babysit(given.pop("train"), params, space=space, timeout_s=_BEGINS_WITHIN_S, **given).close()
    with closing(Store.open(Place.of(given["name"], given["results"], None).existing())) as store:
        holder = store.holder(time.time())
    return None if holder is None else holder[1]


if __name__ == "__main__":
    sys.exit(main())
