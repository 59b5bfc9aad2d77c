"""The address of an object store that holds checkpoints: a URL without credentials; the record lies in a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

from tuner.errors import NameRefused, StudyError, quoted
from tuner.record.atomic import write_whole
from tuner.values.arguments import is_url, path

HOME = Path("results")
"""Where the record of a study lies, logs and tables too, whose checkpoints go to an object store."""
POINTER = "checkpoints.json"
"""In a study's folder: which object store its checkpoints lie in."""
IN_MEMORY = "memory"
"""The protocol of a store that one process has for itself."""


def local_folder(results: str | Path) -> Path:
    """The folder of the studies: the one given, or, where an object store is, the one that keeps the records."""
    return (HOME if is_url(results) else path("results", results)).expanduser().absolute()


def object_url(results: str | Path) -> str | None:
    """The URL of an object store, without a slash at its end; None: it is a folder. Nonsense is refused."""
    if not isinstance(results, str) or not is_url(results):
        return None
    shown = quoted(re.sub(r"//[^/]*@", "//…@", re.split("[?#]", results)[0]))
    try:
        parts = urlsplit(results)
        secret = parts.password is not None or (parts.scheme in ("s3", "s3a") and "@" in parts.netloc)
    except ValueError as error:
        raise NameRefused(f"results={shown} is no address of a store: {error}. Write s3://BUCKET/FOLDER.") from None
    if secret or "?" in results or "#" in results:
        raise NameRefused(
            f"results={shown} should name a place alone: what an address holds lands in records and logs. Give keys "
            "and options to the coordinator and the workers in their environment: AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL_S3, or FSSPEC_S3_…."
        )
    odd = "::" in results or re.search(r"[\x00-\x1f\x7f]", results) is not None
    if odd or any(part in (".", "..") for part in parts.path.split("/")):
        raise NameRefused(f"results={shown} should be one plain address, such as s3://BUCKET/FOLDER.")
    if not parts.netloc and not parts.path.strip("/"):
        raise NameRefused(f"results={shown} names no bucket. Write s3://BUCKET/FOLDER.")
    return results.rstrip("/")


def pointed(folder: Path) -> str | None:
    """Where a study's folder says that its checkpoints lie; None: in the folder itself."""
    try:
        return object_url(str(json.loads((folder / POINTER).read_text())["url"]))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{folder / POINTER} should say where the checkpoints of the study lie, and cannot be read: {error}. Name "
            "the store: --results s3://BUCKET/FOLDER."
        ) from None


def point(folder: Path, url: str) -> None:
    """Leaves word of it in a study's folder; `OSError` where it may not be written to."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(folder / POINTER, json.dumps({"url": url}).encode(), mode=0o600)
