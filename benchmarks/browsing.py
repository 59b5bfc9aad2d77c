"""A page as somebody at it sees it, in Debian's Chromium: when it is there, when its pictures are, what it takes."""

from __future__ import annotations

import functools
import shutil
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import psutil
from apart import NotInstalled
from bulk import begun, opened, over
from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as NotInTime
from serviced import SPACE, Served, percentile, served, written

import tuner

_PATIENCE_MS = 60_000
_SETTLES_MS = 6_000  # until every picture that is seen has come
PEERS_WITHIN_S = 60
"""How long a chart of others is waited for: somebody at it would have gone."""
# A chart of Plotly's, which both peers draw with, is there once a line or a mark of its data stands on it.
_CHART = ".js-plotly-plot .trace, .js-plotly-plot canvas"
# A picture of ours is there once it says what it shows, and the browser has painted twice since.
_DRAWN = """async (many) => {
    const drawn = (figure) => !figure.innerText.includes("being drawn");
    const there = () => [...document.querySelectorAll("figure[data-picture]")].filter(drawn).length >= many;
    while (!there() && performance.now() < 60000) await new Promise(requestAnimationFrame);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now();
}"""
# Down the whole page, so that every picture on it is seen, and back.
_THROUGH = """async () => {
    const pause = () => new Promise((done) => setTimeout(done, 300));
    const { scrollHeight } = document.documentElement;
    for (let at = 0; at < scrollHeight; at += innerHeight / 2) { scrollTo(0, at); await pause(); }
    scrollTo(0, 0);
}"""
# From the moment the theme changes until the picture with the new data has taken the place of the old one.
_WATCH = """() => {
    const old = document.querySelector("figure[data-picture] .canvas").firstElementChild;
    window.redrawn = null;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", async () => {
        const began = performance.now();
        while (old.isConnected) await new Promise(requestAnimationFrame);
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        window.redrawn = performance.now() - began;
    }, { once: true });
}"""


# When the best score that the page tells was first that high, in seconds of this machine's clock.
_TELLS = """() => {
    window.told = {};
    const look = () => {
        const best = document.querySelector("#sweep_head .facts b")?.innerText;
        if (best) window.told[best] ??= Date.now() / 1000;
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


@contextmanager
def visited(width: int = 1280, height: int = 900) -> Iterator[Page]:
    """An empty page in a fresh browser."""
    path = shutil.which("chromium")
    if path is None:
        raise NotInstalled("apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            context = browser.new_context(viewport={"width": width, "height": height})
            context.set_default_timeout(_PATIENCE_MS)
            yield context.new_page()
        finally:
            browser.close()


def usable(folder: str, times: int) -> dict[str, float]:
    """From the service's first answer to the list of studies, by the printed link in a browser that is open."""
    results = Path(folder)
    written(results, "night", 100, 24)
    taken = []
    with visited() as page:
        for _ in range(times):
            with served(results) as service:
                began = time.monotonic()
                page.goto(service.link)
                page.get_by_text("night").first.wait_for()
                taken.append(time.monotonic() - began)
    return {"median_s": statistics.median(taken), "low_s": min(taken), "high_s": max(taken)}


def large(folder: str, trials: int, points: int) -> dict[str, float]:
    """A sweep of that size: its first picture, one drawn anew, the browser's heap, and the bytes that came."""
    results = Path(folder)
    written(results, "night", trials, points)
    with served(results) as service, visited() as page:
        page.goto(service.link)
        page.get_by_text("night").first.wait_for()  # the study is folded, as it is once anybody has looked at it
        first = _of_sweep(page, service)
        again = _of_sweep(page, service)
        new = _redrawn(page, "dark")  # which nobody has asked for yet
        taken = [_redrawn(page, "light"), _redrawn(page, "dark"), _redrawn(page, "light")]
        return {
            "cold_s": first["picture_s"],
            "picture_s": again["picture_s"],
            "redraw_s": statistics.median(taken),
            "redraw_new_s": new,
            "heap_mb": again["heap_mb"],
            "page_kb": max(first["kb"], again["kb"]),
            "server_mb": service.rss_mb(),
        }


def _redrawn(page: Page, scheme: Literal["dark", "light"]) -> float:
    page.wait_for_timeout(_SETTLES_MS)  # pictures are drawn at a pace of their own
    page.evaluate(_WATCH)
    page.emulate_media(color_scheme=scheme)
    until = time.monotonic() + _PATIENCE_MS / 1000
    while (taken := page.evaluate("window.redrawn")) is None:
        if time.monotonic() > until:
            raise RuntimeError("the picture was not drawn anew")
        page.wait_for_timeout(50)
    return float(taken) / 1000


def _of_sweep(page: Page, service: Served) -> dict[str, float]:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(float(event["encodedDataLength"])))
    page.goto(f"{service.url}/studies/night", wait_until="commit")
    drawn = float(page.evaluate(_DRAWN, 1)) / 1000
    page.wait_for_timeout(_SETTLES_MS)
    page.evaluate(_THROUGH)
    page.wait_for_timeout(_SETTLES_MS)
    session.send("Performance.enable")
    session.send("HeapProfiler.collectGarbage")
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    return {"picture_s": drawn, "kb": sum(sizes) / 1000, "heap_mb": metrics["JSHeapUsedSize"] / 1e6}


def seen(folder: str, updates: int, pages: int, every_s: float = 1.0) -> dict[str, float]:
    """How long after its commit an update is in the text of each of several pages of one browser, all of them open."""
    results = Path(folder)
    store = opened(results, "live", space=SPACE)
    try:
        at, params = time.time(), {"learning_rate": 0.1, "beta": 0.9}
        store.append([*begun(0, params, at), *over(0, [0.3, 0.5], at)], at)
        with served(results) as service, visited() as page:
            page.goto(service.link)
            open_pages = [page, *(page.context.new_page() for _ in range(pages - 1))]
            for each in open_pages:
                each.goto(f"{service.url}/studies/live")
                each.evaluate(_TELLS)
            page.wait_for_timeout(_SETTLES_MS)
            durable: list[tuple[float, float]] = []
            used, began = service.cpu_s(), time.monotonic()
            for number in range(1, updates + 1):
                best = round(0.5 + number / 1000, 4)
                at = time.time()
                store.append([*begun(number, params, at), *over(number, [0.3, best], at)], at)
                durable.append((best, time.time()))
                page.wait_for_timeout(1000 * every_s)
            page.wait_for_timeout(_SETTLES_MS)
            used = (service.cpu_s() - used) / (time.monotonic() - began)
            told = [each.evaluate("window.told") for each in open_pages]
    finally:
        store.close()
    delays = [
        min((at for text, at in each.items() if float(text) >= best), default=float("inf")) - at_s
        for each in told
        for best, at_s in durable
    ]
    return {"p50_s": percentile(delays, 0.5), "p95_s": percentile(delays, 0.95), "cores": used}


# ── other people's pages ─────────────────────────────────────────────────────────────────────────────────────────────


def dashboard(folder: str, python: str, storage: str) -> dict[str, float]:
    """optuna-dashboard over a storage: its list, the first chart of a study, and what its server then holds."""
    command = [str(Path(python).with_name("optuna-dashboard")), storage, "--port", "{port}", "--host", "127.0.0.1"]
    with _running(command, Path(folder)) as (url, process), visited() as page:
        began = time.monotonic()
        page.goto(f"{url}/dashboard/")
        page.get_by_text("night").first.wait_for()
        listed = time.monotonic() - began
        chart = _first_chart(page, f"{url}/dashboard/studies/1")
        return {"list_s": listed, **chart, "server_mb": _rss_mb(process)}


def tracker(folder: str, python: str, studies: str) -> dict[str, float]:
    """MLflow's page over the trials of the study `night`: its table, its first chart, and what its server holds."""
    home = Path(folder)
    store, database = f"sqlite:///{home / 'mlflow.db'}", home / "mlflow.db"
    made = subprocess.run([python, "-c", _ONE_RUN, store], capture_output=True, text=True, check=True, timeout=300)
    experiment = made.stdout.strip().splitlines()[-1]
    _multiply(database, Path(studies))
    command = [python, "-m", "mlflow", "server", "--backend-store-uri", store, "--port", "{port}", "--workers", "1"]
    with _running(command, home) as (url, process), visited() as page:
        page.goto(f"{url}/#/experiments/{experiment}/runs", wait_until="commit")
        began = time.monotonic()
        page.locator("a[href*='/runs/']").first.wait_for()
        listed, held = time.monotonic() - began, _rss_mb(process)
        page.goto("about:blank")
        chart = _first_chart(page, f"{url}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
        return {"list_s": listed, **chart, "server_mb": held}


def _first_chart(page: Page, address: str) -> dict[str, float]:
    """How soon the data of a first chart are there; nothing where none comes."""
    began = time.monotonic()
    page.goto(address, wait_until="commit")
    try:
        page.locator(_CHART).first.wait_for(state="attached", timeout=1000 * PEERS_WITHIN_S)
    except NotInTime:
        return {}
    return {"picture_s": time.monotonic() - began}


# MLflow takes a quarter of an hour to be told ten thousand runs: it is told one, and its database is given the others.
_ONE_RUN = """
import sys
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient
client = MlflowClient(sys.argv[1])
experiment = client.create_experiment("night")
run = client.create_run(experiment).info.run_id
client.log_batch(run, metrics=[Metric("score", 0.5, 0, 1)], params=[Param("setting", "0")])
client.set_terminated(run)
print(experiment)
"""


def _multiply(database: Path, studies: Path) -> None:
    """Gives MLflow's database a run for each trial of the study `night`, like the one that MLflow wrote itself."""
    with closing(sqlite3.connect(database)) as store, closing(tuner.open("night", results=studies)) as study:
        study.load_curves()
        ((pattern,),) = store.execute("SELECT run_uuid FROM runs").fetchall()
        for trial in study.state.trials:
            curve = study.state.curve(trial)
            scores = [{"step": step, "value": score} for step, score in zip(curve.steps, curve.scores, strict=True)]
            told: dict[str, list[dict[str, Any]]] = {
                "runs": [{"name": f"trial-{trial.trial}"}],
                "tags": [{}],
                "params": [{"key": name, "value": str(value)} for name, value in trial.params.items()],
                "metrics": scores,
                "latest_metrics": scores[-1:],
            }
            for table, rows in told.items():
                for changed in rows:
                    _copy(store, table, pattern, {**changed, "run_uuid": f"{trial.trial:032x}"})
        store.commit()


def _copy(store: sqlite3.Connection, table: str, pattern: str, changed: Mapping[str, Any]) -> None:
    columns = _columns(store, table)
    taken = ", ".join(f":{each}" if each in changed else f'"{each}"' for each in columns)
    names = ", ".join(f'"{each}"' for each in columns)
    order = f"INSERT INTO {table} ({names}) SELECT {taken} FROM {table} WHERE run_uuid = :pattern"
    store.execute(order, {**changed, "pattern": pattern})


@functools.cache
def _columns(store: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(row[1] for row in store.execute(f"PRAGMA table_info({table})"))


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "peer.log").open("wb") as log:
        process = subprocess.Popen([each.format(port=port) for each in command], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 120
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((folder / "peer.log").read_text()[-300:])
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.kill()  # some of them stay where they are only asked to go
        process.wait(30)


def _rss_mb(process: psutil.Process) -> float:
    every: list[Any] = [process, *process.children(recursive=True)]
    return float(sum(each.memory_info().rss for each in every)) / 1e6
