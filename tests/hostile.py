"""Texts that mean harm, or that no one expected, by what they try; and whether what came out of them is harmless."""

from __future__ import annotations

import os
import re
from pathlib import Path

HOSTILE = {
    "a way up": "../../../escaped",
    "a way from the root": "/escaped",
    "a hidden file": ".escaped",
    "a colour": "\x1b[31mred\x1b[0m",
    "a cleared screen": "\x1b[2J\x1b[Hgone",
    "a title": "\x1b]0;owned\x07",
    "a link": "\x1b]8;;http://evil.example/\x1b\\click\x1b]8;;\x1b\\",
    "a clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "a device control": "\x1bP$q\x1b\\",
    "a control of eight bits": "\x9b2Jgone\x9c",
    "backspaces": "safe\b\b\b\bevil\x7f",
    "a bell": "\x07\x0b\x0c",
    "a line written over": "all is well\rno",
    "another direction": "\u202egnp.exe\u202c \u2066x\u2069",
    "several lines": "one\ntrial 7: completed\n\n# a heading",
    "people": "🙂 👩‍🚀 اهلا שלום 日本語",
    "half of a pair": "half \ud800 of a pair",
    "no text": os.fsdecode(b"caf\xe9\xff"),
    "nothing in C": "before\x00after",
    "ten thousand": "x" * 10_000,
    "a query": "'; DROP TABLE requests; --",
    "a formula": "=cmd()|'/C calc'!A0",
    "another formula": "@SUM(1+1)*cmd()",
    "a third formula": '+HYPERLINK("http://evil.example")',
    "a script": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "a way out of a tag": "\"'><svg/onload=alert(3)>",
    "a way out of a script": "</script><script>alert(4)</script>",
    "markdown": "[click](javascript:alert(5)) | a | `b` ![x](http://evil.example/x.png)",
    "a template": "{{7*7}} {0.__class__} %s%n ${HOME} $(touch escaped)",
    "mathematics": "$\\frac{ $x^{",
    "markup": "[red]x[/red][/][link=http://evil.example]y[/link]",
    "nothing": "",
    "a blank": " ",
    "an option": "--results=/escaped",
}
"""What somebody may call a thing, or write about it."""

# What commands a terminal, or shows another text than there is. A tab and the end of a line are nobody's command.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LOOKS = re.compile(r"\x1b\[[0-9;]*m")


def commands_in(text: str, *, coloured: bool = False) -> list[str]:
    """What of a text would command a terminal; with `coloured`, beside what tuner itself says of colours."""
    return _COMMANDS.findall(_LOOKS.sub("", text) if coloured else text)


def strangers_in(folder: Path, *known: str) -> list[str]:
    """What lies beside these in a folder."""
    there = [Path("/escaped"), Path("escaped")]
    return [path.name for path in folder.iterdir() if path.name not in known] + [str(p) for p in there if p.exists()]
