"""The header that says when to ask again."""

from __future__ import annotations

import math


def retry_after(seconds: float) -> dict[str, str]:
    """Whole seconds, since it knows no others: rather a little late than in vain."""
    return {"retry-after": str(math.ceil(seconds))}
