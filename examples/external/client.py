"""A program that asks a study for trials and trains them, with nothing but Python's standard library.

    TUNER_URL=http://127.0.0.1:8765 TUNER_TOKEN=… python examples/external/client.py night worker-1

Every call is made again until it is answered: the study counts it once. Copy it, and put your training into `train`.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

URL, TOKEN = os.environ["TUNER_URL"], os.environ["TUNER_TOKEN"]


def train(settings: dict[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Your training: yields scores after each step."""
    for step in range(1, 6):
        yield {"score": 1 / (1 + abs(settings["learning_rate"] - 0.1)) - 0.5 / step + seed % 10 * 1e-6}


def call(path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and answer of a call; while nobody answers it is made again."""
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    request = urllib.request.Request(f"{URL}/v1/studies/{path}", json.dumps(body).encode(), headers)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as refusal:
            if refusal.code not in (429, 500, 502, 503):
                return refusal.code, json.loads(refusal.read() or b"{}")
        except OSError:  # the server is away, or the answer was lost
            pass
        time.sleep(1.0)


def train_one(study: str, lent: dict[str, Any]) -> None:
    """Trains a trial that was lent, reports after each step, and tells its end."""
    path, segment, batch = f"{study}/trials/{lent['trial']}", lent["segment"], lent["batch"]
    for step, scores in enumerate(train(lent["settings"], lent["seed"]), 1):
        report = {"segment": segment, "batch": batch, "rows": [[step, scores]]}
        status, answer = call(f"{path}/reports", report)
        while answer.get("orders") == "pause":
            time.sleep(1.0)
            status, answer = call(f"{path}/reports", {**report, "rows": []})
        if status >= 400 or answer["orders"] == "stop":
            print(f"trial {lent['trial']}: {answer['why']}")
            return
        batch += 1
    status, answer = call(f"{path}/tell", {"segment": segment, "state": "completed"})
    print(f"trial {lent['trial']}: {answer.get('state', answer.get('code'))}, {answer['why']}")


def main(study: str, worker: str) -> None:
    """Asks for trials until the study is over."""
    while True:
        status, answer = call(f"{study}/ask", {"worker": worker, "request": uuid.uuid4().hex, "wait_s": 20})
        if status == 200:
            train_one(study, answer)
        elif status != 204:
            print(answer["why"])
            sys.exit(0 if status == 410 else 1)
        else:
            time.sleep(1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
