"""What an installation consists of, and that the shipped files are what the models say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kaos_operator.assets import asset_folder
from kaos_operator.crds import drift, read_crds
from kaos_operator.install import install_objects
from kaos_operator.samples import sample_names, sample_objects
from kaos_operator.settings import Settings


def test_the_crd_files_are_what_the_models_say() -> None:
    assert drift(asset_folder("crds")) == []


def test_drift_names_the_file_that_differs(tmp_path: Path) -> None:
    for path in asset_folder("crds").glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    assert drift(tmp_path) == []
    (tmp_path / "agents.kaos.tools.yaml").write_text("{}")
    (tmp_path / "old.yaml").write_text("{}")
    assert drift(tmp_path) == ["agents.kaos.tools.yaml", "old.yaml"]


def test_an_installation_is_crds_rights_configuration_and_the_operator() -> None:
    objects = install_objects("elsewhere")
    kinds = [object_["kind"] for object_ in objects]
    assert kinds[:3] == ["CustomResourceDefinition"] * 3
    assert kinds.index("Namespace") < kinds.index("ServiceAccount") < kinds.index("Deployment")
    named = {(o["kind"], o["metadata"]["name"]) for o in objects}
    assert {("ConfigMap", "kaos-operator-config"), ("ConfigMap", "kaos-mcp-runtimes")} <= named
    assert all(o["metadata"].get("namespace", "elsewhere") == "elsewhere" for o in objects)


def test_settings_survive_their_config_map() -> None:
    settings = Settings(system_namespace="a", agent_image="b", telemetry_enabled=True, log_level="DEBUG")
    assert Settings.from_environ(settings.to_environ()) == settings
    assert Settings.from_environ({}) == Settings()


def test_reading_the_shipped_crds_needs_no_pydantic() -> None:
    code = "import sys, kaos_operator.install as i; i.install_objects(); print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_each_crd_has_columns_short_names_and_a_status_of_its_own() -> None:
    crds = {crd["spec"]["names"]["kind"]: crd["spec"] for crd in read_crds()}
    assert {kind: spec["names"]["shortNames"] for kind, spec in crds.items()} == {
        "ModelAPI": ["api", "apis"],
        "MCPServer": ["mcp", "mcps"],
        "Agent": ["agent", "agents"],
    }
    columns = {k: [c["name"] for c in s["versions"][0]["additionalPrinterColumns"]] for k, s in crds.items()}
    assert columns["Agent"][:4] == ["ModelAPI", "Model", "Ready", "Phase"]
    assert columns["ModelAPI"][:3] == ["Mode", "Ready", "Phase"]
    assert columns["MCPServer"][:3] == ["Runtime", "Ready", "Phase"]
    assert all(spec["versions"][0]["subresources"] == {"status": {}} for spec in crds.values())


@pytest.mark.parametrize("name", sample_names())
def test_every_sample_fits_the_models(name: str) -> None:
    from kaos_ext.model import kinds

    seen = 0
    for document in sample_objects(name):
        if document["apiVersion"].startswith("kaos.tools/"):
            getattr(kinds, document["kind"]).model_validate({"spec": document["spec"]})
            seen += 1
    assert seen
