"""Containers of a Pod: image, ports, environment, mounts, probes, resources."""

from __future__ import annotations

import re
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors, quantities
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import config_key_errors, env_name_errors, port_name_errors
from kaos_ext.cluster.apiserver.validations.parts import part_name_errors
from kaos_ext.cluster.apiserver.validations.security import security_errors

Object = dict[str, Any]

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_TERMINATION_POLICIES = ("File", "FallbackToLogsOnError")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_PORT_RANGE = "must be between 1 and 65535, inclusive"
_NOT_NEGATIVE = "must be greater than or equal to 0"
_FIELD = re.compile(
    r"metadata\.(name|namespace|uid|labels\['[^']+'\]|annotations\['[^']+'\])"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?|phase)"
)
_RESOURCES = tuple(
    f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_RESOURCE = re.compile(r"(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)")


def container_errors(container: Object, path: str, names: set[str], volumes: set[Any]) -> list[FieldError]:
    found = part_name_errors(container, path, names)
    image = container.get("image") or ""
    if not image:
        found.append(errors.required(f"{path}.image"))
    elif image.strip() != image:
        found.append(errors.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    for key, allowed in (
        ("imagePullPolicy", _PULL_POLICIES),
        ("terminationMessagePolicy", _TERMINATION_POLICIES),
    ):
        if container.get(key) not in allowed:
            found.append(errors.one_of(f"{path}.{key}", container.get(key), allowed))
    found += _ports(container.get("ports") or (), f"{path}.ports")
    found += _environment(container, path)
    seen: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        found += _mount(mount, f"{path}.volumeMounts[{index}]", volumes, seen)
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(key) is not None:
            found += _probe(container[key], f"{path}.{key}", once=key != "readinessProbe")
    for key in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(key)
        if handler is not None and not any(one in handler for one in ("exec", "httpGet", "tcpSocket", "sleep")):
            found.append(errors.required(f"{path}.lifecycle.{key}", "must specify a handler type"))
    found += security_errors(container.get("securityContext") or {}, f"{path}.securityContext")
    probe = container.get("readinessProbe") or {}
    if probe.get("terminationGracePeriodSeconds") is not None:
        where, why = f"{path}.readinessProbe.terminationGracePeriodSeconds", "must not be set for readinessProbes"
        found.append(errors.invalid(where, probe["terminationGracePeriodSeconds"], why))
    return found + resource_errors(container.get("resources") or {}, f"{path}.resources")


def _ports(ports: Any, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        here = f"{path}[{index}]"
        if name := port.get("name"):
            wrong = [errors.invalid(f"{here}.name", name, why) for why in port_name_errors(name)]
            if not wrong and name in names:
                wrong = [errors.duplicate(f"{here}.name", name)]
            found += wrong
            names.add(name)
        number = port.get("containerPort") or 0
        if number == 0:
            found.append(errors.required(f"{here}.containerPort"))
        elif not 1 <= number <= 65535:
            found.append(errors.invalid(f"{here}.containerPort", number, _PORT_RANGE))
        host = port.get("hostPort") or 0
        if host and not 1 <= host <= 65535:
            found.append(errors.invalid(f"{here}.hostPort", host, _PORT_RANGE))
        if port.get("protocol") not in _PROTOCOLS:
            found.append(errors.one_of(f"{here}.protocol", port.get("protocol"), _PROTOCOLS))
    return found


def _environment(container: Object, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, variable in enumerate(container.get("env") or ()):
        here = f"{path}.env[{index}]"
        name = variable.get("name") or ""
        if not name:
            found.append(errors.required(f"{here}.name"))
        else:
            found += [errors.invalid(f"{here}.name", name, why) for why in env_name_errors(name)]
        source = variable.get("valueFrom")
        if source is None:
            continue
        if variable.get("value"):
            why = "may not be specified when `value` is not empty"
            found.append(errors.invalid(f"{here}.valueFrom", "", why))
        given = [key for key in source if source[key] is not None]
        if len(given) != 1:
            why = (
                "may not have more than one field specified at a time"
                if given
                else "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or "
                "`fileKeyRef`"
            )
            found.append(errors.invalid(f"{here}.valueFrom", "", why))
        for key in ("configMapKeyRef", "secretKeyRef"):
            reference = source.get(key)
            if reference is not None and not reference.get("key"):
                found.append(errors.required(f"{here}.valueFrom.{key}.key"))
            elif reference is not None:
                found += [
                    errors.invalid(f"{here}.valueFrom.{key}.key", reference["key"], why)
                    for why in config_key_errors(reference["key"])
                ]
        field = source.get("fieldRef")
        if field is not None and not field.get("fieldPath"):
            found.append(errors.required(f"{here}.valueFrom.fieldRef.fieldPath"))
        elif field is not None and not _FIELD.fullmatch(field["fieldPath"]):
            why = f"error converting fieldPath: field label not supported: {field['fieldPath']}"
            found.append(errors.invalid(f"{here}.valueFrom.fieldRef.fieldPath", field["fieldPath"], why))
        resource = source.get("resourceFieldRef")
        if resource is not None and not _RESOURCE.fullmatch(resource.get("resource") or ""):
            given_resource = resource.get("resource") or ""
            found.append(
                errors.not_supported(f"{here}.valueFrom.resourceFieldRef.resource", given_resource, _RESOURCES)
                if given_resource
                else errors.required(f"{here}.valueFrom.resourceFieldRef.resource")
            )
    for one in container.get("envFrom") or ():
        if one.get("configMapRef") is None and one.get("secretRef") is None:
            why = "must specify one of: `configMapRef` or `secretRef`"
            found.append(errors.invalid(f"{path}.envFrom", "", why))
    return found


def _mount(mount: Object, path: str, volumes: set[Any], seen: set[str]) -> list[FieldError]:
    found: list[FieldError] = []
    name, place = mount.get("name") or "", mount.get("mountPath") or ""
    mounts = path.rpartition("[")[0]
    if not name:
        found.append(errors.required(f"{path}.name"))
    if name not in volumes:
        found.append(errors.not_found(f"{path}.name", name))
    if not place:
        found.append(errors.required(f"{path}.mountPath"))
    elif place in seen:
        found.append(errors.invalid(f"{path}.mountPath", place, "must be unique"))
    seen.add(place)
    inside = mount.get("subPath") or ""
    if inside.startswith("/"):
        found.append(errors.invalid(f"{mounts}.subPath", inside, "must be a relative path"))
    if ".." in inside.split("/"):
        found.append(errors.invalid(f"{mounts}.subPath", inside, "must not contain '..'"))
    return found


def _probe(probe: Object, path: str, *, once: bool) -> list[FieldError]:
    found: list[FieldError] = []
    handlers = [key for key in _HANDLERS if probe.get(key) is not None]
    if not handlers:
        found.append(errors.required(path, "must specify a handler type"))
    found += [errors.forbidden(f"{path}.{key}", "may not specify more than 1 handler type") for key in handlers[1:]]
    request = probe.get("httpGet")
    if request is not None and request.get("scheme") not in ("HTTP", "HTTPS"):
        found.append(errors.one_of(f"{path}.httpGet.scheme", request.get("scheme"), ("HTTP", "HTTPS")))
    if handlers and handlers[0] in ("httpGet", "tcpSocket"):
        found += _port_reference(probe[handlers[0]].get("port"), f"{path}.{handlers[0]}.port")
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if (probe.get(key) or 0) < 0:
            found.append(errors.invalid(f"{path}.{key}", probe[key], _NOT_NEGATIVE))
    if once and probe.get("successThreshold", 1) != 1:
        found.append(errors.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return found


def _port_reference(port: Any, path: str) -> list[FieldError]:
    if isinstance(port, str):
        return [errors.invalid(path, port, why) for why in port_name_errors(port)]
    if not 1 <= (port or 0) <= 65535:
        return [errors.invalid(path, port or 0, _PORT_RANGE)]
    return []


_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def resource_errors(resources: Object, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for key, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            here = f"{path}.{key}[{name}]"
            if "/" in name:
                if quantities.value(amount).denominator != 1:
                    found.append(errors.invalid(here, amount, "must be an integer"))
            elif name not in _COMPUTE and not name.startswith("hugepages-"):
                found.append(errors.invalid(here, name, "must be a standard resource type or fully qualified"))
                found.append(errors.invalid(here, name, "must be a standard resource for containers"))
        found += [
            errors.invalid(f"{path}.{key}[{name}]", amount, _NOT_NEGATIVE)
            for name, amount in amounts.items()
            if quantities.value(amount) < 0
        ]
    for name, amount in requests.items():
        if name in limits and quantities.value(amount) > quantities.value(limits[name]):
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            found.append(errors.invalid(f"{path}.requests", amount, why))
    return found
