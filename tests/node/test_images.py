"""The allow-list of images, and Kubernetes' rule for command and args."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaos_ext.cluster.node.images import Image, ImageTable

TABLE = ImageTable.from_json(
    {
        "images": {
            "example/agent": {"command": ["{python}", "-m", "agent"], "args": ["--serve"]},
            "example/agent:special": {"command": ["special"]},
            "registry.test:5000/tools-*": {"command": ["tool"]},
        }
    }
)


@pytest.mark.parametrize(
    ("image", "command"),
    [
        ("example/agent", "{python}"),
        ("example/agent:1.2", "{python}"),
        ("docker.io/example/agent:1.2", "{python}"),
        ("example/agent@sha256:00", "{python}"),
        ("example/agent:special", "special"),
        ("registry.test:5000/tools-x:9", "tool"),
    ],
)
def test_an_image_is_found_by_name_with_or_without_a_tag(image: str, command: str) -> None:
    found = TABLE.find(image)
    assert found is not None and found.command[0] == command


@pytest.mark.parametrize("image", ["busybox", "example/agents", "evil/example/agent", "example/agent/x", ""])
def test_what_is_not_in_the_table_is_not_found(image: str) -> None:
    assert TABLE.find(image) is None


def test_command_replaces_the_entrypoint_and_args_replace_the_images_args() -> None:
    image = Image(("{python}", "-m", "agent"), ("--serve",))
    assert image.argv(None, None, "/py") == ["/py", "-m", "agent", "--serve"]
    assert image.argv(None, ["-x"], "/py") == ["/py", "-m", "agent", "-x"]
    assert image.argv(["other"], None, "/py") == ["other"]
    assert image.argv(["other"], ["-x"], "/py") == ["other", "-x"]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_text(json.dumps({"images": {}}))
    table = ImageTable.load(path)
    assert table.find("new") is None
    other = tmp_path / "fresh.json"
    other.write_text(json.dumps({"images": {"new": {"command": ["x"]}}}))
    other.replace(path)
    assert table.find("new") is not None
    path.unlink()
    assert table.names == ["new"]


def test_templates_are_named_by_images_and_each_is_wanted_once() -> None:
    entry = {"command": ["{python}", "-m", "x"], "template": ["a", "b"]}
    table = ImageTable.from_json({"images": {"x": entry, "y": entry, "z": {"command": ["z"]}}})
    assert table.templates == [("a", "b")]
    found = table.find("z")
    assert found is not None and found.template == ()
