"""The page before the page: a sentence, and a field for a token."""

from __future__ import annotations

import re
from html import escape

LOGIN = "/login"
_STYLE = "font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem"


def page(words: str, root_path: str = "", *, goes_on: bool = False) -> str:
    """A page with a sentence and a field for a token, or one that goes on by itself."""
    home = escape(f"{root_path}/", quote=True)
    way = (
        f'<meta http-equiv="refresh" content="0; url={home}"><p><a href="{home}">Go on</a>'
        if goes_on
        else f'<form method="post" action="{escape(root_path + LOGIN, quote=True)}"><label>Token '
        '<input type="password" name="token" autocomplete="current-password" required></label> '
        "<button>Enter</button></form>"
    )
    told = re.sub("`(.+?)`", r"<code>\1</code>", escape(words[:1].upper() + words[1:]))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>tuner</title>'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"></head>'
        f'<body><main style="{_STYLE}"><h1>tuner</h1><p>{told}</p>{way}</main></body></html>'
    )
