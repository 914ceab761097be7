"""Services, EndpointSlices and Endpoints. (Addresses are given out, and refused, elsewhere.)"""

from __future__ import annotations

import ipaddress
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import dns_label_errors, dns_subdomain_errors, port_name_errors
from kaos_ext.cluster.apiserver.validations.metadata import label_errors
from kaos_ext.cluster.apiserver.validations.networking import CIDR, network
from kaos_ext.cluster.apiserver.validations.placement import ADDRESS, is_address

Object = dict[str, Any]

_PORT_RANGE = "must be between 1 and 65535, inclusive"
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_AFFINITIES = ("ClientIP", "None")


def service_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    kind, ports = spec.get("type"), spec.get("ports") or []
    headless = spec.get("clusterIP") == "None" or (spec.get("clusterIPs") or [""])[0] == "None"
    found: list[FieldError] = []
    if not ports and not headless and kind != "ExternalName":
        found.append(errors.required("spec.ports"))
    if kind not in _TYPES:
        found.append(errors.not_supported("spec.type", kind, _TYPES))
    if kind == "ExternalName":
        name = (spec.get("externalName") or "").removesuffix(".")
        if not name:
            found.append(errors.required("spec.externalName"))
        else:
            found += [errors.invalid("spec.externalName", name, why) for why in dns_subdomain_errors(name)]
    if kind in ("NodePort", "LoadBalancer") and headless:
        why = f"may not be set to 'None' for {kind} services"
        found.append(errors.invalid("spec.clusterIPs[0]", "None", why))
    if old is not None:
        found += _address_stays(spec, old.get("spec") or {})
    names: set[str] = set()
    taken: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        found += _service_port(port, f"spec.ports[{index}]", len(ports) > 1, kind, names)
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in taken:
            shown = {
                "Name": "",
                "Protocol": key[0],
                "AppProtocol": None,
                "Port": key[1],
                "TargetPort": 0,
                "NodePort": 0,
            }
            found.append(errors.duplicate(f"spec.ports[{index}]", shown))
        taken.add(key)
    found += label_errors(spec.get("selector"), "spec.selector")
    found += _traffic(spec, kind)
    if spec.get("sessionAffinity") not in _AFFINITIES:
        found.append(errors.not_supported("spec.sessionAffinity", spec.get("sessionAffinity"), _AFFINITIES))
    return found


def _traffic(spec: Object, kind: Any) -> list[FieldError]:
    """Addresses and policies that say where a Service's traffic comes from and goes."""
    found: list[FieldError] = []
    for index, one in enumerate(spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])):
        if one not in ("", "None") and not is_address(one):
            found.append(errors.invalid(f"spec.clusterIPs[{index}]", one, ADDRESS))
    for index, one in enumerate(spec.get("externalIPs") or ()):
        if not is_address(one):
            found.append(errors.invalid(f"spec.externalIPs[{index}]", one, ADDRESS))
    for index, one in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        if network(one.strip()) is None:
            found.append(errors.invalid(f"spec.LoadBalancerSourceRanges[{index}]", one, CIDR))
    if spec.get("ipFamilyPolicy") == "RequireDualStack" and (spec.get("selector") or spec.get("clusterIP") != "None"):
        why = "this cluster is not configured for dual-stack services"
        found.append(errors.invalid("spec.ipFamilyPolicy", "RequireDualStack", why))
    outside = spec.get("externalTrafficPolicy")
    if outside and kind not in ("NodePort", "LoadBalancer") and not spec.get("externalIPs"):
        why = "may only be set for externally-accessible services"
        found.append(errors.invalid("spec.externalTrafficPolicy", outside, why))
    elif outside and outside not in _POLICIES:
        found.append(errors.not_supported("spec.externalTrafficPolicy", outside, _POLICIES))
    inside = spec.get("internalTrafficPolicy")
    if inside and inside not in _POLICIES:
        found.append(errors.not_supported("spec.internalTrafficPolicy", inside, _POLICIES))
    return found


_POLICIES = ("Cluster", "Local")


def _address_stays(spec: Object, was: Object) -> list[FieldError]:
    """A cluster IP that was given out is not changed while the Service needs one."""
    before = was.get("clusterIP") or ""
    if not before or "ExternalName" in (spec.get("type"), was.get("type")):
        return []
    now = spec.get("clusterIP") or ""
    listed = spec.get("clusterIPs") or []
    if now == before and (not listed or listed[0] == before):
        return []
    if not now and not listed:
        return []
    shown = [now] if now != before and now else listed
    return [errors.invalid("spec.clusterIPs[0]", shown, "may not change once set")]


def _service_port(port: Object, path: str, named: bool, kind: Any, names: set[str]) -> list[FieldError]:
    found: list[FieldError] = []
    name = port.get("name") or ""
    if not name and named:
        found.append(errors.required(f"{path}.name"))
    elif name:
        found += [errors.invalid(f"{path}.name", name, why) for why in dns_label_errors(name)]
        if name in names:
            found.append(errors.duplicate(f"{path}.name", name))
        names.add(name)
    number = port.get("port") or 0
    if not 1 <= number <= 65535:
        found.append(errors.invalid(f"{path}.port", number, _PORT_RANGE))
    if port.get("protocol") not in _PROTOCOLS:
        found.append(errors.not_supported(f"{path}.protocol", port.get("protocol"), _PROTOCOLS))
    target = port.get("targetPort")
    if isinstance(target, str):
        found += [errors.invalid(f"{path}.targetPort", target, why) for why in port_name_errors(target)]
    elif not 1 <= (target or 0) <= 65535:
        found.append(errors.invalid(f"{path}.targetPort", target or 0, _PORT_RANGE))
    if port.get("nodePort") and kind not in ("NodePort", "LoadBalancer"):
        why = f"may not be used when `type` is '{kind}'"
        found.append(errors.forbidden(f"{path}.nodePort", why))
    return found


def endpoints_errors(new: Object, old: Object | None) -> list[FieldError]:
    found: list[FieldError] = []
    for index, subset in enumerate(new.get("subsets") or ()):
        path = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.append(errors.required(path, "must specify `addresses` or `notReadyAddresses`"))
        for member in ("addresses", "notReadyAddresses"):
            for at, address in enumerate(subset.get(member) or ()):
                here, text = f"{path}.{member}[{at}].ip", address.get("ip") or ""
                if not is_address(text):
                    found.append(errors.invalid(here, text, ADDRESS))
                    found.append(errors.invalid(here, text, "must be a valid IP address"))
        several = len(subset.get("ports") or ()) > 1
        for at, port in enumerate(subset.get("ports") or ()):
            here, name = f"{path}.ports[{at}]", port.get("name") or ""
            if several and not name:
                found.append(errors.required(f"{here}.name"))
            elif name:
                found += [errors.invalid(f"{here}.name", name, why) for why in dns_label_errors(name)]
            if not 1 <= (port.get("port") or 0) <= 65535:
                found.append(errors.invalid(f"{here}.port", port.get("port") or 0, _PORT_RANGE))
            if port.get("protocol") not in _PROTOCOLS:
                found.append(errors.not_supported(f"{here}.protocol", port.get("protocol"), _PROTOCOLS))
    return found


_FAMILIES = ("FQDN", "IPv4", "IPv6")


def endpoint_slice_errors(new: Object, old: Object | None) -> list[FieldError]:
    family = new.get("addressType") or ""
    found: list[FieldError] = []
    if not family:
        found.append(errors.required("addressType"))
    elif family not in _FAMILIES:
        found.append(errors.not_supported("addressType", family, _FAMILIES))
    if old is not None and family != old.get("addressType"):
        found.append(errors.invalid("addressType", family, "field is immutable"))
    for index, endpoint in enumerate(new.get("endpoints") or ()):
        path = f"endpoints[{index}].addresses"
        addresses = endpoint.get("addresses") or []
        if not addresses:
            found.append(errors.required(path, "must contain at least 1 address"))
        for at, address in enumerate(addresses):
            found += _address(address, family, f"{path}[{at}]")
    names: set[str] = set()
    for index, port in enumerate(new.get("ports") or ()):
        name = port.get("name") or ""
        if name:
            found += [errors.invalid(f"ports[{index}].name", name, why) for why in dns_label_errors(name)]
        if name in names:
            found.append(errors.duplicate(f"ports[{index}].name", name))
        names.add(name)
        if port.get("protocol") not in _PROTOCOLS:
            found.append(errors.not_supported(f"ports[{index}].protocol", port.get("protocol"), _PROTOCOLS))
    return found


def _address(address: str, family: str, path: str) -> list[FieldError]:
    """Loopback addresses, which a real server refuses, are where pods of the embedded cluster live."""
    if family == "FQDN":
        return [errors.invalid(path, address, why) for why in dns_subdomain_errors(address)]
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return [errors.invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    if family in ("IPv4", "IPv6") and found.version != int(family[-1]):
        return [errors.invalid(path, address, f"must be an {family} address")]
    if found.is_unspecified:
        return [errors.invalid(path, address, f"may not be unspecified ({address})")]
    return []
