"""Takes the picture of a sweep's page: `make page-picture`, which needs Chromium."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from chromium import Service, Visitor, browsing

HIGH = 1250


def main(results: str, study: str, to: str) -> None:
    """Draws the page of one study of a folder into a file."""
    service = Service(Path(results))
    with browsing() as browser:
        try:
            visitor = Visitor(browser, service.start(), height=HIGH)
            page = visitor.page(f"/studies/{study}")
            for figure in page.locator("figure[data-picture]").all():
                figure.locator("canvas").first.wait_for()
            page.wait_for_timeout(1000)  # the last strokes
            page.screenshot(path=to)
        finally:
            service.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
