"""Small edits in the text of a YAML mapping that leave every other byte as it was, comments included.

Pure. The parser tells where a value begins and ends; the lines between are replaced. Values in flow style are replaced
whole. A caller compares the meaning of the result with what it wanted (some YAML cannot be edited this way).
"""

from __future__ import annotations

import json
from typing import Any

import yaml


def in_block_style(text: str) -> str:
    """The same document with its top level in block style, which the edits below need; unchanged when it is already."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode) and root.flow_style:
        return yaml.safe_dump(yaml.safe_load(text), sort_keys=False)
    return text


def set_scalar(text: str, key: str, value: str) -> str:
    """Set the top-level `key` to a string."""
    line = f"{key}: {_scalar(value)}\n"
    pair = _pair(text, key)
    if pair is None:
        return _append(text, line)
    return _splice(text, pair[0].start_mark.index, _end(text, pair[1]), line.rstrip("\n"))


def set_item(text: str, key: str, name: str, item: dict[str, Any] | None) -> str:
    """Replace, add or (None) remove the item with this `name` in the sequence of mappings under the top-level `key`."""
    pair = _pair(text, key)
    if pair is None:
        return text if item is None else _append(text, f"{key}:\n{_block(item, 0)}")
    key_node, value = pair
    if not isinstance(value, yaml.SequenceNode) or value.flow_style or not value.value:
        items = [] if not isinstance(value, yaml.SequenceNode) else yaml.safe_load(_source(text, value)) or []
        items = [entry for entry in items if entry.get("name") != name] + ([item] if item is not None else [])
        body = f"{key}:\n" + "".join(_block(entry, 0) for entry in items) if items else f"{key}: []\n"
        return _splice(text, key_node.start_mark.index, _end(text, value), body.rstrip("\n"))
    indent = value.start_mark.column
    for node in value.value:
        if _name_of(node) != name:
            continue
        start = text.rfind("\n", 0, node.start_mark.index) + 1
        end = _end(text, node)
        if item is not None:
            return _splice(text, start, end, _block(item, indent).rstrip("\n"))
        if len(value.value) == 1:
            return _splice(text, key_node.start_mark.index, end, f"{key}: []")
        return text[:start] + text[end + 1 :]
    if item is None:
        return text
    end = _end(text, value.value[-1])
    return _splice(text, end, end, "\n" + _block(item, indent).rstrip("\n"))


def _pair(text: str, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return None
    return next(((k, v) for k, v in root.value if getattr(k, "value", None) == key), None)


def _name_of(node: yaml.Node) -> str | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "name":
                return str(value.value)
    return None


def _end(text: str, node: yaml.Node) -> int:
    """Where the node's last own line ends; a block's end mark lies behind the comments and blanks that follow it."""
    last = node
    while not getattr(last, "flow_style", True) and last.value:
        child = last.value[-1]
        last = child[1] if isinstance(child, tuple) else child
    end = last.end_mark.index
    if isinstance(last, yaml.ScalarNode) and last.style in ("|", ">"):
        return len(text[:end].rstrip("\n"))
    newline = text.find("\n", end)
    return len(text) if newline < 0 else newline


def _source(text: str, node: yaml.Node) -> str:
    return text[node.start_mark.index : node.end_mark.index]


def _append(text: str, addition: str) -> str:
    return text + ("" if not text or text.endswith("\n") else "\n") + addition


def _splice(text: str, start: int, end: int, replacement: str) -> str:
    return text[:start] + replacement + text[end:]


def _block(item: dict[str, Any], indent: int) -> str:
    lines = yaml.safe_dump([item], sort_keys=False, width=1_000_000).splitlines()
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _scalar(value: str) -> str:
    """A plain scalar where YAML reads it back as the same string, else a quoted one."""
    return value if value and yaml.safe_load(value) == value and "#" not in value else json.dumps(value)
