"""CustomResourceDefinitions: their defaults, what makes one valid, when two claim the same names.

default_crd(crd)                    singular, listKind, conversion, before it is stored
first_status(crd)                   the status it is created with
crd_errors(crd, old)                what is wrong with it, structural rules included
naming_status(crd, others, now)     acceptedNames and the conditions NamesAccepted and Established
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import dns1035_errors, dns_subdomain_errors
from kaos_ext.cluster.apiserver.schema.structural_rules import schema_errors

Object = dict[str, Any]

_APPROVAL = "api-approved.kubernetes.io"
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")


def crd_versions(crd: Mapping[str, Any]) -> dict[str, Object]:
    """The versions of a CRD by name."""
    return {version["name"]: version for version in crd["spec"].get("versions") or ()}


def default_crd(crd: Object) -> Object:
    """Names that follow from the kind, no conversion; in place."""
    spec = crd.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    if not names.get("singular") and kind:
        names["singular"] = kind.lower()
    if not names.get("listKind") and kind:
        names["listKind"] = kind + "List"
    conversion = spec.get("conversion")
    if conversion is None:
        conversion = spec["conversion"] = {"strategy": "None"}
    webhook = (conversion.get("webhook") or {}).get("clientConfig", {}).get("service")
    if webhook is not None:
        webhook.setdefault("port", 443)
    return crd


def first_status(crd: Mapping[str, Any]) -> Object:
    """What a new CRD's status says until its names are looked at."""
    stored = [version["name"] for version in crd["spec"].get("versions") or () if version.get("storage")]
    return {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}


def naming_status(crd: Mapping[str, Any], others: Iterable[Mapping[str, Any]], now: str) -> Object:
    """The status after the names were held against the other CRDs of the same group."""
    spec, before = crd["spec"], crd.get("status") or {}
    names: Object = spec["names"]
    taken_plurals: set[str] = set()
    taken_kinds: set[str] = set()
    for other in others:
        if other["spec"]["group"] != spec["group"] or other["metadata"]["name"] == crd["metadata"]["name"]:
            continue
        accepted = (other.get("status") or {}).get("acceptedNames") or {}
        taken_plurals |= {accepted.get("plural", ""), accepted.get("singular", ""), *(accepted.get("shortNames") or ())}
        taken_kinds |= {accepted.get("kind", ""), accepted.get("listKind", "")}
    accepted_names: Object = {"plural": "", "kind": "", **(before.get("acceptedNames") or {})}
    problem = ""
    for member, reason, taken in (
        ("plural", "PluralConflict", taken_plurals),
        ("singular", "SingularConflict", taken_plurals),
        ("shortNames", "ShortNamesConflict", taken_plurals),
        ("kind", "KindConflict", taken_kinds),
        ("listKind", "ListKindConflict", taken_kinds),
    ):
        wanted = names.get(member)
        wrong = [one for one in (wanted if isinstance(wanted, list) else [wanted]) if one and one in taken]
        if wrong:
            problem = f'{reason}\0"{wrong[0]}" is already in use'  # the last one counts
        elif wanted:
            accepted_names[member] = wanted
        else:
            accepted_names.pop(member, None)
    if names.get("categories"):
        accepted_names["categories"] = names["categories"]
    else:
        accepted_names.pop("categories", None)
    reason, _, message = problem.partition("\0")
    accepted = ("False", reason, message) if problem else ("True", "NoConflicts", "no conflicts found")
    old = {condition["type"]: condition for condition in before.get("conditions") or ()}
    if not problem:
        established = ("True", "InitialNamesAccepted", "the initial names have been accepted")
    elif (old.get("Established") or {}).get("status") == "True":
        established = ("True", old["Established"]["reason"], old["Established"]["message"])
    else:
        established = ("False", "NotAccepted", "not all names are accepted")
    conditions = [
        _condition("NamesAccepted", accepted, old, now),
        _condition("Established", established, old, now),
    ]
    conditions += [condition for kind, condition in old.items() if kind not in ("NamesAccepted", "Established")]
    stored = list(before.get("storedVersions") or first_status(crd)["storedVersions"])
    return {"conditions": conditions, "acceptedNames": accepted_names, "storedVersions": stored}


def _condition(kind: str, wanted: tuple[str, str, str], old: Mapping[str, Object], now: str) -> Object:
    status, reason, message = wanted
    before = old.get(kind) or {}
    since = before.get("lastTransitionTime") if before.get("status") == status else now
    return {"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}


def crd_errors(crd: Object, old: Object | None = None) -> list[FieldError]:
    """What is wrong with a CRD (defaulted), and with its change when there was an old one."""
    found: list[FieldError] = []
    spec, name = crd["spec"], crd["metadata"].get("name") or ""
    names = spec.get("names") or {}
    group, plural = spec.get("group") or "", names.get("plural") or ""
    found += [errors.invalid("metadata.name", name, why) for why in dns_subdomain_errors(name)]
    if old is None and plural and group and name != f"{plural}.{group}" and not found:
        found.append(errors.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    found += _group(group, crd["metadata"].get("annotations") or {})
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        scope = spec.get("scope") or ""
        if not scope:
            found.append(errors.required("spec.scope"))
        else:
            found.append(errors.not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    found += _names(names)
    versions = spec.get("versions") or []
    found += _versions(versions)
    found += _stored_versions({**first_status(crd), **_given(crd.get("status"))}["storedVersions"], versions)
    if spec.get("preserveUnknownFields"):
        found.append(
            errors.invalid("spec.preserveUnknownFields", True, "must be false in order to use defaults in the schema")
        )
    single = len(versions) == 1
    for index, version in enumerate(versions):
        wrong = _version(version, index, single)
        found += wrong or _rules(version, index, single, old)
    conversion = spec.get("conversion") or {}
    if conversion.get("strategy") not in (None, "None", "Webhook"):
        found.append(errors.not_supported("spec.conversion.strategy", conversion["strategy"], ("None", "Webhook")))
    if conversion.get("strategy") == "Webhook" and not (conversion.get("webhook") or {}).get("clientConfig"):
        found.append(errors.required("spec.conversion.webhookClientConfig", "required when strategy is set to Webhook"))
    if conversion.get("strategy") == "Webhook" and not (conversion.get("webhook") or {}).get(
        "conversionReviewVersions"
    ):
        found.append(errors.required("spec.conversion.conversionReviewVersions"))
    if old is not None:
        found += _changes(spec, old)
    return found


def _changes(spec: Object, old: Object) -> list[FieldError]:
    before = old["spec"]
    established = any(
        condition["type"] == "Established" and condition["status"] == "True"
        for condition in (old.get("status") or {}).get("conditions") or ()
    )
    fixed = [("spec.group", spec.get("group"), before.get("group"))]
    fixed += [("spec.names.plural", spec["names"].get("plural"), before["names"].get("plural"))]
    if established:
        fixed += [("spec.scope", spec.get("scope"), before.get("scope"))]
        fixed += [("spec.names.kind", spec["names"].get("kind"), before["names"].get("kind"))]
    return [errors.invalid(path, new, "field is immutable") for path, new, was in fixed if new != was]


def _group(group: str, annotations: Mapping[str, str]) -> list[FieldError]:
    if not group:
        return [errors.required("spec.group")]
    found = [errors.invalid("spec.group", group, why) for why in dns_subdomain_errors(group)]
    if not found and "." not in group:
        found.append(errors.invalid("spec.group", group, "should be a domain with at least one dot"))
    if group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io"):
        approval = annotations.get(_APPROVAL, "")
        path = f"metadata.annotations[{_APPROVAL}]"
        help_text = "see https://github.com/kubernetes/enhancements/pull/1111"
        if not approval:
            why = f'protected groups must have approval annotation "{_APPROVAL}", {help_text}'
            found.append(errors.required(path, why))
        elif not approval.startswith(("https://", "http://", "unapproved")):
            why = f'protected groups must have approval annotation "{_APPROVAL}" with either a URL or a reason starting'
            found.append(errors.invalid(path, approval, f'{why} with "unapproved", {help_text}'))
    return found


def _names(names: Object) -> list[FieldError]:
    found: list[FieldError] = []
    for member in ("plural", "singular", "kind", "listKind"):
        value = names.get(member) or ""
        path = f"spec.names.{member}"
        if not value:
            if member in ("plural", "kind", "singular", "listKind"):
                found.append(errors.required(path))
            continue
        mixed = member in ("kind", "listKind")
        lead = "may have mixed case, but should otherwise match: " if mixed else ""
        found += [errors.invalid(path, value, lead + why) for why in dns1035_errors(value.lower() if mixed else value)]
    for member in ("shortNames", "categories"):
        for index, value in enumerate(names.get(member) or ()):
            path = f"spec.names.{member}[{index}]"
            found += [errors.invalid(path, value, why) for why in dns1035_errors(value)]
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        found.append(errors.invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    return found


def _go_version(version: Object, *, hide_schema: bool) -> Object:
    """A version as a message shows it (Go's internal form)."""
    return {
        "Name": version.get("name", ""),
        "Served": bool(version.get("served")),
        "Storage": bool(version.get("storage")),
        "Deprecated": bool(version.get("deprecated")),
        "DeprecationWarning": version.get("deprecationWarning"),
        "Schema": None if hide_schema else version.get("schema"),
        "Subresources": None if hide_schema else version.get("subresources"),
        "AdditionalPrinterColumns": None if hide_schema else version.get("additionalPrinterColumns"),
        "SelectableFields": version.get("selectableFields"),
    }


def _versions(versions: list[Object]) -> list[FieldError]:
    found: list[FieldError] = []
    single = len(versions) == 1
    seen: set[str] = set()
    for index, version in enumerate(versions):
        name = version.get("name") or ""
        path = f"spec.versions[{index}].name"
        found += [errors.invalid(path, name, why) for why in dns1035_errors(name)]
        if index == 0:
            found += [errors.invalid("spec.version", name, why) for why in dns1035_errors(name)]
        if name in seen:
            shown = [_go_version(version, hide_schema=single) for version in versions]
            found.append(errors.invalid("spec.versions", shown, "must contain unique version names"))
        seen.add(name)
    storage = [version["name"] for version in versions if version.get("storage")]
    if len(storage) != 1:
        shown = [_go_version(version, hide_schema=single) for version in versions]
        found.append(errors.invalid("spec.versions", shown, "must have exactly one version marked as storage version"))
    return found


def _given(status: Object | None) -> Object:
    return {key: value for key, value in (status or {}).items() if value is not None}


def _stored_versions(stored: list[str], versions: list[Object]) -> list[FieldError]:
    """Every version that objects may be stored in has to stay until they are not."""
    path = "status.storedVersions"
    if not stored:
        return [errors.invalid(path, None, "must have at least one stored version")]
    found = [
        errors.invalid(path, stored, f"must have the storage version {version.get('name')}")
        for version in versions
        if version.get("storage") and version.get("name") not in stored
    ]
    named = {version.get("name") for version in versions}
    return found + [
        errors.invalid(
            f"{path}[{index}]",
            one,
            f"missing from spec.versions; {one} was previously a storage version, and must remain in spec.versions "
            f"until a storage migration ensures no data remains persisted in {one} and removes {one} from "
            "status.storedVersions",
        )
        for index, one in enumerate(stored)
        if one not in named
    ]


def store_also(crd: Object) -> None:
    """Note a new storage version, in place, as soon as it is asked for."""
    status = crd.setdefault("status", {})
    stored = list(status.get("storedVersions") or ())
    missing = [
        one["name"] for one in crd["spec"].get("versions") or () if one.get("storage") and one["name"] not in stored
    ]
    if missing:
        crd["status"] = {**status, "storedVersions": stored + missing}


def _rules(version: Object, index: int, single: bool, old: Object | None) -> list[FieldError]:
    """What is wrong with the rules of a schema, if they are new."""
    schema = version["schema"]["openAPIV3Schema"]
    for before in ((old or {}).get("spec") or {}).get("versions") or ():
        if (before.get("schema") or {}).get("openAPIV3Schema") == schema:
            return []
    if "x-kubernetes-validations" not in repr(schema):
        return []
    from kaos_ext.cluster.apiserver.cel.definition import definition_errors

    path = ("spec.validation" if single else f"spec.versions[{index}].schema") + ".openAPIV3Schema"
    return definition_errors(schema, path)


def _version(version: Object, index: int, single: bool) -> list[FieldError]:
    base = f"spec.versions[{index}]"
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    found: list[FieldError] = []
    if schema is None:
        return [errors.required(f"{base}.schema.openAPIV3Schema")]
    path = ("spec.validation" if single else f"{base}.schema") + ".openAPIV3Schema"
    found += schema_errors(schema, path, root=True)
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        place = "spec.subresources.scale" if single else f"{base}.subresources.scale"
        for member, start in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
            value = scale.get(member) or ""
            if not value:
                found.append(errors.required(f"{place}.{member}"))
            elif not value.startswith("."):
                why = "must be a simple json path starting with ."
                found.append(errors.invalid(f"{place}.{member}", value, why))
            elif not value.startswith(start):
                why = f"should be a json path under {start[:-1]}"
                found.append(errors.invalid(f"{place}.{member}", value, why))
    for at, field in enumerate(version.get("selectableFields") or ()):
        place = "spec.selectableFields" if single else f"{base}.selectableFields"
        found += _selectable(field.get("jsonPath") or "", schema, f"{place}[{at}].jsonPath")
    columns = "spec.additionalPrinterColumns" if single else f"{base}.additionalPrinterColumns"
    for at, column in enumerate(version.get("additionalPrinterColumns") or ()):
        found += _column(column, f"{columns}[{at}]")
    return found


_SELECTABLE = ("string", "boolean", "integer")


def _selectable(place: str, schema: Object, path: str) -> list[FieldError]:
    """A field that objects may be selected by: one simple value."""
    if not place:
        return [errors.required(path)]
    node: Any = schema
    for name in place.lstrip(".").split("."):
        node = (node.get("properties") or {}).get(name) if isinstance(node, dict) else None
    if node is None:
        return [errors.invalid(path, place, "is an invalid path: does not refer to a valid field")]
    if node.get("type") not in _SELECTABLE:
        why = (
            "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are "
            "allowed."
        )
        return [errors.invalid(path, place, why)]
    return []


def _column(column: Object, path: str) -> list[FieldError]:
    found = []
    if not column.get("name"):
        found.append(errors.required(f"{path}.name"))
    if not column.get("type"):
        found.append(errors.required(f"{path}.type", f"must be one of {','.join(_COLUMN_TYPES)}"))
    elif column["type"] not in _COLUMN_TYPES:
        found.append(errors.invalid(f"{path}.type", column["type"], f"must be one of {','.join(_COLUMN_TYPES)}"))
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        why = f"must be one of {','.join(_COLUMN_FORMATS)}"
        found.append(errors.invalid(f"{path}.format", column["format"], why))
    if not column.get("jsonPath"):
        found.append(errors.required(f"{path}.JSONPath"))
    elif not column["jsonPath"].startswith("."):
        why = "must be a simple json path starting with ."
        found.append(errors.invalid(f"{path}.JSONPath", column["jsonPath"], why))
    return found
