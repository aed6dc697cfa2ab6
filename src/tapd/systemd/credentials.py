"""Credentials that the service manager hands over (systemd.exec(5), LoadCredential=).

Each is a file in $CREDENTIALS_DIRECTORY, readable by this service only and
never swapped out. May import `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tapd.errors import KeyUnusable

_BYTES_MAX = 1024 * 1024  # systemd's own limit for all credentials of a unit together


def read_credential(name: str, environ: Mapping[str, str]) -> bytes | None:
    """Return the content of the credential `name`; None where it was not handed over.

    Raises:
        ValueError: `name` can't be a credential's.
        KeyUnusable: it is there and can't be read, or is far too long.
    """
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise ValueError(f"{name!r} can't be the name of a credential")
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    try:
        with (Path(directory) / name).open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyUnusable(
            f"can't read the credential {name}: {error.strerror}. Check LoadCredential= of the unit"
        ) from None
    if len(content) > _BYTES_MAX:
        raise KeyUnusable(f"the credential {name} is longer than {_BYTES_MAX} bytes")
    return content
