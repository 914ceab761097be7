"""Objects as tables, cards, YAML and names: the `-o` of list and get."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from kaos_ext.commands.kinds import Spoken
from kaos_ext.commands.result import Plain, Result
from kaos_ext.kube.objects import Object
from kaos_ext.model.names import Kind
from kaos_ext.views import Card, Cell, Line, State, Table, Tone
from kaos_ext.views.durations import duration, span

TROUBLE = frozenset({"Progressing", "MemoryDegraded", "Degraded", "Stalled", "Suspended", "Unsupported"})
"""Conditions whose absence is the good news."""
PHASE_TONE = {"Ready": Tone.DONE, "Failed": Tone.FAILED, "Waiting": Tone.WAITING, "Pending": Tone.WORKING}


def to_yaml(*documents: Any) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Texts of several lines as blocks, so that source and prompts stay readable."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 10000}
    return "---\n".join(yaml.dump(document, Dumper=Dumper, **options) for document in documents)


def without_bookkeeping(item: Object) -> Object:
    """The object as people read it: without who manages which field."""
    return {**item, "metadata": {k: v for k, v in (item.get("metadata") or {}).items() if k != "managedFields"}}


def formed(item: Object, spoken: Spoken, form: str) -> Plain | None:
    """The object in the form asked for; None for the forms that are drawn."""
    match form:
        case "yaml":
            return Plain(to_yaml(without_bookkeeping(item)))
        case "json":
            return Plain(json.dumps(without_bookkeeping(item), indent=2, ensure_ascii=False))
        case "name":
            return Plain(f"{spoken.word}/{item['metadata']['name']}")
    return None


def listed(items: Sequence[Object], spoken: Spoken, form: str, place: str, all_namespaces: bool) -> Result:
    data = {"apiVersion": "v1", "kind": "List", "items": [without_bookkeeping(item) for item in items]}
    match form:
        case "yaml":
            return Result(Plain(to_yaml(data)), data)
        case "json":
            return Result(Plain(json.dumps(data, indent=2, ensure_ascii=False)), data)
        case "name":
            return Result(Plain("\n".join(f"{spoken.word}/{item['metadata']['name']}" for item in items)), data)
    wide = form == "wide"
    # Only an agent that tells the API server where its loop is has a number to show.
    loops = any("loop" in (item.get("status") or {}) for item in items)
    columns, rows = _columns(spoken, wide, loops), [_row(item, spoken, wide, loops) for item in items]
    if all_namespaces:
        columns = ("namespace", *columns)
        rows = [(item["metadata"].get("namespace", ""), *row) for item, row in zip(items, rows, strict=True)]
    where = "any namespace" if all_namespaces else f"namespace {place}"
    title = f"{spoken.kind.value}s"
    return Result(Table(title, columns, tuple(rows), f"none in {where}", f"kaos {spoken.word} deploy --help"), data)


def _columns(spoken: Spoken, wide: bool, loops: bool) -> tuple[str, ...]:
    own = {
        Kind.AGENT: ("modelapi", "model", *(("iteration",) if loops else ())),
        Kind.MODELAPI: ("mode", "models"),
        Kind.MCPSERVER: ("runtime", "tools"),
    }[spoken.kind]
    return ("name", *own, "ready", "phase", "age", *(("endpoint", "message") if wide else ()))


def _row(item: Object, spoken: Spoken, wide: bool, loops: bool) -> tuple[Cell, ...]:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    own: tuple[Cell, ...]
    match spoken.kind:
        case Kind.AGENT:
            iteration = ((status.get("loop") or {}).get("iteration"),) if loops else ()
            own = (spec.get("modelAPI"), spec.get("model"), *iteration)
        case Kind.MODELAPI:
            own = (spec.get("mode"), _models(spec))
        case Kind.MCPSERVER:
            own = (spec.get("runtime"), ", ".join(status.get("availableTools") or ()) or None)
    last: tuple[Cell, ...] = (status.get("endpoint"), status.get("message")) if wide else ()
    return (item["metadata"]["name"], *own, bool(status.get("ready")), _phase(status), age(item), *last)


def _models(spec: Object) -> str:
    hosted = (spec.get("hostedConfig") or {}).get("model")
    return hosted or ", ".join((spec.get("proxyConfig") or {}).get("models") or ())


def _phase(status: Object) -> State:
    phase = str(status.get("phase") or "Pending")
    return State(phase, PHASE_TONE.get(phase, Tone.QUIET))


def age(item: Object) -> str:
    made = item["metadata"].get("creationTimestamp")
    return span(time.time() - datetime.fromisoformat(made).timestamp()) if made else ""


def card(item: Object, spoken: Spoken) -> Card:
    """One object in full, its conditions as lines."""
    status = item.get("status") or {}
    phase = _phase(status)
    fields = [(label, value) for label, value in _fields(item, spoken) if value]
    lines, told = [], str(status.get("message") or "")
    for condition in status.get("conditions") or ():
        said = str(condition.get("message") or "")
        tone = _condition_tone(condition, phase.tone)
        # The same reason under several conditions is read once.
        lines.append(
            Line(tone, str(condition.get("type", "")), "" if said == told else said, str(condition.get("reason") or ""))
        )
    return Card(spoken.word, item["metadata"]["name"], phase.text, phase.tone, tuple(fields), tuple(lines), age(item))


def _condition_tone(condition: Object, phase: Tone) -> Tone:
    """Good news, or as bad as the phase says; work that was given up is no good news."""
    good = (condition.get("status") == "True") != (condition.get("type") in TROUBLE)
    if condition.get("type") == "Progressing" and condition.get("reason") == "Failed":
        good = False
    return Tone.DONE if good else Tone.FAILED if phase is Tone.FAILED else Tone.WAITING


def _fields(item: Object, spoken: Spoken) -> list[tuple[str, str]]:
    spec, status, config = (
        item.get("spec") or {},
        item.get("status") or {},
        (item.get("spec") or {}).get("config") or {},
    )
    fields = [("namespace", str(item["metadata"].get("namespace", "")))]
    match spoken.kind:
        case Kind.AGENT:
            autonomous, loop = config.get("autonomous") or {}, status.get("loop") or {}
            fields += [
                ("model", f"{spec.get('model')} of {spec.get('modelAPI')}"),
                ("tools", ", ".join(spec.get("mcpServers") or ())),
                ("goal", str(autonomous.get("goal") or "")),
                ("pause", "paused" if autonomous.get("suspend") else ""),
                ("iteration", _iteration(loop)),
            ]
        case Kind.MODELAPI:
            fields += [("mode", str(spec.get("mode") or "")), ("models", _models(spec))]
        case Kind.MCPSERVER:
            tools = ", ".join(status.get("availableTools") or ())
            fields += [("runtime", str(spec.get("runtime") or "")), ("tools", tools)]
    return [*fields, ("endpoint", str(status.get("endpoint") or "")), ("message", str(status.get("message") or ""))]


def _iteration(loop: Object) -> str:
    if not loop.get("iteration"):
        return ""
    parts = [str(loop["iteration"]), str(loop.get("lastOutcome") or ""), duration(loop.get("lastDurationSeconds"))]
    return " · ".join(part for part in parts if part)
