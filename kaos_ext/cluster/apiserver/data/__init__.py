"""Tables that ship with the API server, each loaded when first asked for. Where they come from: NOTICE."""

from __future__ import annotations

import gzip
import json
from functools import cache
from importlib import resources
from typing import Any


def read(name: str) -> bytes:
    """The unpacked bytes of one table."""
    return gzip.decompress(resources.files(__name__).joinpath(name).read_bytes())


@cache
def table(name: str) -> Any:
    """One table, parsed once; it is shared: leave it as it is."""
    return json.loads(read(name))
