"""The shape of the checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_operator_is_no_package_so_the_standard_librarys_operator_module_stays_importable() -> None:
    packages = [path.parent.relative_to(ROOT) for path in (ROOT / "operator").glob("*/__init__.py")]
    assert packages == [Path("operator/kaos_operator")]
    assert not (ROOT / "operator" / "__init__.py").exists()
