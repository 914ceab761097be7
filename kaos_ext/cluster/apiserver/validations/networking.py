"""Ingresses, their classes, and network policies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import (
    dns1035_errors,
    dns_label_errors,
    dns_subdomain_errors,
    port_name_errors,
)
from kaos_ext.cluster.apiserver.validations.label_selectors import selector_errors

Object = dict[str, Any]

CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_PORT_RANGE = "must be between 1 and 65535, inclusive"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_THE_END = ("/..", "/.")
_PROTOCOLS = ("TCP", "UDP", "SCTP")


def ingress_errors(new: Object, old: Object | None) -> list[FieldError]:
    return list(_ingress(new.get("spec") or {}))


def _ingress(spec: Object) -> Iterator[FieldError]:
    if spec.get("defaultBackend") is None and not spec.get("rules"):
        yield errors.invalid("spec", None, "either `defaultBackend` or `rules` must be specified")
    for index, one in enumerate(spec.get("tls") or ()):
        for at, host in enumerate(one.get("hosts") or ()):
            yield from _host(host, f"spec.tls[{index}].hosts[{at}]")
    if spec.get("defaultBackend") is not None:
        yield from _backend(spec["defaultBackend"], "spec.defaultBackend")
    for index, rule in enumerate(spec.get("rules") or ()):
        path = f"spec.rules[{index}]"
        if host := rule.get("host") or "":
            if _is_address(host):
                yield errors.invalid(f"{path}.host", host, "must be a DNS name, not an IP address")
            yield from _host(host, f"{path}.host")
        http = rule.get("http")
        if http is None:
            continue
        if not http.get("paths"):
            yield errors.required(f"{path}.http.paths")
        for at, one in enumerate(http.get("paths") or ()):
            yield from _path(one, f"{path}.http.paths[{at}]")
    if (name := spec.get("ingressClassName")) is not None:
        yield from (errors.invalid("spec.ingressClassName", name, why) for why in dns_subdomain_errors(name))


def _host(host: str, path: str) -> Iterator[FieldError]:
    checked = host[2:] if host.startswith("*.") else host
    if "*" in host and not host.startswith("*."):
        yield errors.invalid(path, host, "a wildcard is the whole first label")
        return
    yield from (errors.invalid(path, host, why) for why in dns_subdomain_errors(checked))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _path(one: Object, path: str) -> Iterator[FieldError]:
    kind, place = one.get("pathType"), one.get("path") or ""
    if not kind:
        yield errors.required(f"{path}.pathType", "pathType must be specified")
    elif kind not in _PATH_TYPES:
        yield errors.not_supported(f"{path}.pathType", kind, _PATH_TYPES)
    elif kind == "ImplementationSpecific":
        if place and not place.startswith("/"):
            yield errors.invalid(f"{path}.path", place, "must be an absolute path")
    elif not place.startswith("/"):
        yield errors.invalid(f"{path}.path", place, "must be an absolute path")
    else:
        for wrong in _NOT_IN_PATHS:
            if wrong in place:
                yield errors.invalid(f"{path}.path", place, f"must not contain '{wrong}'")
        for wrong in _NOT_AT_THE_END:
            if place.endswith(wrong):
                yield errors.invalid(f"{path}.path", place, f"cannot end with '{wrong}'")
    yield from _backend(one.get("backend") or {}, f"{path}.backend")


def _backend(backend: Object, path: str) -> Iterator[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield errors.invalid(path, "", "cannot set both resource and service backends")
    elif service is None and resource is None:
        yield errors.invalid(path, "", "resource or service backend is required")
    elif service is not None:
        if not service.get("name"):
            yield errors.required(f"{path}.service.name")
        else:
            yield from (errors.invalid(f"{path}.service.name", service["name"], w) for w in _service_name(service))
        port = service.get("port") or {}
        named, number = port.get("name") or "", port.get("number") or 0
        if named and number:
            yield errors.invalid(path, "", "cannot set both port name & port number")
        elif named:
            yield from (errors.invalid(f"{path}.service.port.name", named, why) for why in port_name_errors(named))
        elif not number:
            yield errors.required(path, "port name or number is required")
        elif not 1 <= number <= 65535:
            yield errors.invalid(f"{path}.service.port.number", number, _PORT_RANGE)


def _service_name(service: Object) -> list[str]:
    return dns1035_errors(service["name"])


def ingress_class_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    controller = spec.get("controller") or ""
    if old is not None and controller != (old.get("spec") or {}).get("controller"):
        return [errors.invalid("spec.controller", controller, "field is immutable")]
    if len(controller) > 250:
        return [errors.too_long("spec.controller", 250)]
    domain, slash, rest = controller.partition("/")
    if not slash or not rest or dns_subdomain_errors(domain):
        return [errors.invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    return []


def network_policy_errors(new: Object, old: Object | None) -> list[FieldError]:
    return list(_policy(new.get("spec") or {}))


def _policy(spec: Object) -> Iterator[FieldError]:
    yield from selector_errors(spec.get("podSelector") or {}, "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{index}]"
            for at, port in enumerate(rule.get("ports") or ()):
                yield from _policy_port(port, f"{path}.ports[{at}]")
            for at, peer in enumerate(rule.get(peers) or ()):
                yield from _peer(peer, f"{path}.{peers}[{at}]")
    kinds = spec.get("policyTypes") or ()
    if len(kinds) > 2:
        yield errors.invalid("spec.policyTypes", list(kinds), "may not specify more than two policyTypes")
    else:
        for index, kind in enumerate(kinds):
            if kind not in ("Ingress", "Egress"):
                yield errors.not_supported(f"spec.policyTypes[{index}]", kind, ("Ingress", "Egress"))


def _policy_port(port: Object, path: str) -> Iterator[FieldError]:
    if port.get("protocol") not in (None, *_PROTOCOLS):
        yield errors.not_supported(f"{path}.protocol", port["protocol"], _PROTOCOLS)
    number, end = port.get("port"), port.get("endPort")
    if isinstance(number, str):
        yield from (errors.invalid(f"{path}.port", number, why) for why in port_name_errors(number))
        if end is not None:
            yield errors.invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
    elif number is not None:
        if not 1 <= number <= 65535:
            yield errors.invalid(f"{path}.port", number, _PORT_RANGE)
        if end is not None:
            if end < number:
                yield errors.invalid(f"{path}.endPort", number, "must be greater than or equal to `port`")
            if not 1 <= end <= 65535:
                yield errors.invalid(f"{path}.endPort", end, _PORT_RANGE)
    elif end is not None:
        yield errors.required(f"{path}.port", "must be specified when `endPort` is specified")


def _peer(peer: Object, path: str) -> Iterator[FieldError]:
    named = [key for key in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(key) is not None]
    for key in named:
        if key != "ipBlock":
            yield from selector_errors(peer[key], f"{path}.{key}")
    if "ipBlock" in named:
        yield from _block(peer["ipBlock"], f"{path}.ipBlock")
    if not named:
        yield errors.required(path, "must specify a peer")
    elif "ipBlock" in named and len(named) > 1:
        yield errors.forbidden(path, "may not specify both ipBlock and another peer")


def _block(block: Object, path: str) -> Iterator[FieldError]:
    cidr = block.get("cidr") or ""
    if not cidr:
        yield errors.required(f"{path}.cidr")
        return
    whole = network(cidr)
    if whole is None:
        yield errors.invalid(f"{path}.cidr", cidr, CIDR)
        return
    for index, one in enumerate(block.get("except") or ()):
        part = network(one)
        if part is None:
            yield errors.invalid(f"{path}.except[{index}]", one, CIDR)
        elif part.version != whole.version or part == whole or not part.subnet_of(whole):  # type: ignore[arg-type]
            yield errors.invalid(f"{path}.except[{index}]", one, "must be a strict subset of `cidr`")


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """A block of addresses; None when the text is none."""
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def runtime_class_errors(new: Object, old: Object | None) -> list[FieldError]:
    handler = new.get("handler") or ""
    if old is not None and handler != old.get("handler"):
        return [errors.invalid("handler", handler, "field is immutable")]
    return [errors.invalid("handler", handler, why) for why in dns_label_errors(handler)]
