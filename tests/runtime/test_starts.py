"""What a start costs: heavy packages stay out of the agent and of the proxy."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process
HEAVY = ("pydantic", "mcp", "uvicorn", "starlette", "httpx", "kubernetes", "kopf", "IPython", "yaml", "rich")


@pytest.mark.parametrize("module", ["kaos_ext.runtime.agent.app", "kaos_ext.runtime.modelapi.proxy"])
def test_nothing_heavy_is_imported_for_a_start(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(HEAVY) & set(loaded)


def test_certificates_are_read_with_the_first_connection_and_then_all_of_them() -> None:
    code = """
import ssl
from kaos_ext.runtime.start import lean
with lean():
    from aiohttp.connector import _SSL_CONTEXT_VERIFIED as context
before = len(context.get_ca_certs())
context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x")
usual = ssl.create_default_context()
print(before, len(context.get_ca_certs()) == len(usual.get_ca_certs()), context.verify_mode == ssl.CERT_REQUIRED,
      context.check_hostname, type(usual) is ssl.SSLContext)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["0", "True", "True", "True", "True"]
