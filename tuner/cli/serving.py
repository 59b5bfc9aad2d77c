"""The verb that serves studies over HTTP: serve."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tuner.cli.agents import budget, team_option
from tuner.cli.options import results_option, verb
from tuner.cli.output import say_json
from tuner.cli.streams import remark, tell
from tuner.errors import MissingExtra, StudyError
from tuner.record.location import team_url
from tuner.record.team import shown_url

if TYPE_CHECKING:
    from tuner.server.running import Running
    from tuner.server.tokens import KeptTokens

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@verb("tuner serve --projects .")
@click.option("--viewer", is_flag=True, help="Print a link that may look, and change nothing.")
@click.option("--list", "lists", is_flag=True, help="Print new links to the services that run on this folder.")
@click.option("--token", "named", metavar="NAME", help="Make a token for a program, print it this once, and end.")
@click.option(
    "--budget",
    metavar="NAME=N,…",
    callback=budget,
    help="What that token may spend: steps=2000,trials=40,parallel=2,spaces=adam+mlp. Default: no bound.",
)
@click.option(
    "--projects",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Training functions in this folder may be launched.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8765, or the next that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen. Elsewhere only with TLS.")
@click.option("--tls-certificate", "certificate", type=_FILE, metavar="FILE", help="The certificate, as PEM.")
@click.option("--tls-key", "key", type=_FILE, metavar="FILE", help="Its key, as PEM.")
@click.option("--insecure", is_flag=True, help="Listen elsewhere without TLS: whoever is on the way can read all.")
@click.option(
    "--allow-host", "allowed", multiple=True, metavar="NAME", help="Another name that this machine is called by."
)
@click.option("--root-path", default="", metavar="PATH", help="What a proxy puts before every path: /tuner")
@click.option("--proxy", is_flag=True, help="Believe what a proxy says of host and scheme.")
@team_option
@results_option
def serve(
    *,
    viewer: bool,
    lists: bool,
    named: str | None,
    budget: dict[str, Any] | None,
    projects: Path | None,
    port: int | None,
    host: str,
    certificate: Path | None,
    key: Path | None,
    insecure: bool,
    allowed: tuple[str, ...],
    root_path: str,
    proxy: bool,
    results: Path,
    store: str | None,
    as_json: bool,
) -> None:
    """Serve the studies of a folder to browsers and programs.

    With --store those of a team's database. Prints a link that works once. Ctrl-C ends it; whatever trains goes on.
    """
    _check_place(host, certificate, key, insecure=insecure)
    _check_root(root_path)
    try:
        from tuner.server import running
        from tuner.server.app import DEFAULT_PORT, create_app, service_of
        from tuner.server.gate import Door
        from tuner.server.tokens import KeptTokens, taken_from
    except ImportError as error:
        raise MissingExtra(f"tuner serve needs {error.name}. Install it: pip install 'tuner[web]'") from error
    results = results.absolute()
    tokens = KeptTokens(results, taken_from(os.environ))
    role: Literal["operator", "viewer"] = "viewer" if viewer else "operator"
    if budget is not None and named is None:
        raise click.UsageError("--budget goes with --token NAME, whose it is.")
    if named is not None:
        _tell_token(tokens, named, role, budget, as_json)
        return
    shown = "" if store is None else shown_url(team_url(store))
    found = [each for each in running.those_running(results) if each.store == shown]
    if lists or (found and port is None):
        if not found:
            beside = f" for {shown}, with --store" if shown else ""
            raise StudyError(f"no service runs on {results}{beside}. Start one: tuner serve --results {results}")
        for each in found:
            _tell_link(each, tokens, role, as_json)
        return
    with running.bound(host, port, DEFAULT_PORT) as listening:
        port = listening.getsockname()[1]
        scheme = "https" if certificate is not None else "http"
        reached = host if not _is_everywhere(host) else "127.0.0.1"
        url = f"{scheme}://{f'[{reached}]' if ':' in reached else reached}:{port}"
        door = Door.on(port, host=host, allowed=allowed, root_path=root_path, trusts_proxy=proxy)
        within = None if projects is None else projects.absolute()
        gate = create_app(results, tokens, door, projects=within, store=store)
        server = running.server_of(gate, service_of(gate), certificate=certificate, key=key)
        with running.announced(results, url, port, root_path, shown) as told:
            _tell_link(told, tokens, role, as_json)
            try:
                running.run(server, listening)
            except KeyboardInterrupt:
                remark("the service has ended; what trains goes on")


def _check_place(host: str, certificate: Path | None, key: Path | None, *, insecure: bool) -> None:
    """Beyond this machine only by TLS, or where somebody says that it need not be."""
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-certificate and --tls-key go together: one is of no use without the other.")
    if _is_here(host) or certificate is not None:
        return
    if not insecure:
        raise click.UsageError(
            f"--host {host} lets other machines in, and without TLS whoever is on the way reads the tokens, which may "
            "run code here. Give --tls-certificate FILE and --tls-key FILE; or stay on 127.0.0.1 and reach it through "
            "ssh -L; or add --insecure where the network is your own."
        )
    remark(f"note: {host} is reached without TLS: whoever is on the way can read all", "yellow")


def _check_root(root_path: str) -> None:
    if root_path and (not root_path.startswith("/") or root_path.endswith("/") or "//" in root_path):
        raise click.BadParameter(f"{root_path!r} is no path: write /tuner.", param_hint="--root-path")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _tell_link(found: Running, tokens: KeptTokens, role: Literal["operator", "viewer"], as_json: bool) -> None:
    link = found.link(tokens, role)
    if as_json:
        say_json({"url": found.url, "pid": found.pid, "role": role, "link": link})
    else:
        may = "look, and change nothing" if role == "viewer" else "steer"
        tell(f"The service runs at {found.url}. This link works once, for ten minutes, and lets you {may}:\n  {link}")


def _tell_token(
    tokens: KeptTokens, name: str, role: Literal["operator", "viewer"], budget: dict[str, Any] | None, as_json: bool
) -> None:
    text = tokens.add(name, role, budget)
    if as_json:
        say_json({"name": name, "role": role, "budget": budget, "token": text})
    else:
        tell(text)
        remark(
            f"the token {name!r} ({role}), shown this once: only its hash is kept. Programs send it as a header: "
            "Authorization: Bearer TOKEN"
        )
