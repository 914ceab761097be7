"""What a client wants back: an object, a Table or bare metadata, as JSON or YAML."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from kaos_ext.cluster.apiserver import failures

JSON, YAML = "application/json", "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
OFFERED = (JSON, YAML, PROTOBUF)
DISCOVERY = "APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The first acceptable form; `form` is empty for the object itself."""

    media: str = JSON
    form: str = ""
    version: str = ""

    @property
    def content_type(self) -> str:
        return self.media


@lru_cache(maxsize=512)
def wanted(accept: str, *, discovery: bool = False) -> Wanted:
    """The form a resource's (or a discovery document's) answer takes; 406 when none fits."""
    fits_nothing = True
    for clause in (accept or "*/*").split(","):
        media, *parts = (part.strip() for part in clause.split(";"))
        if media not in (JSON, YAML, "*/*", "text/yaml", "application/x-yaml"):
            continue
        fits_nothing = False
        parameters = dict(part.partition("=")[::2] for part in parts)
        form = parameters.get("as", "")
        version = parameters.get("v", "")
        chosen = YAML if "yaml" in media else JSON
        if not form:
            return Wanted(chosen)
        group = parameters.get("g", "")
        if discovery and form == DISCOVERY and group == "apidiscovery.k8s.io" and version in ("v2", "v2beta1"):
            return Wanted(chosen, form, version)
        if not discovery and group == "meta.k8s.io":
            if form == "Table" and version in ("v1", "v1beta1"):
                return Wanted(chosen, form, version)
            if form in ("PartialObjectMetadata", "PartialObjectMetadataList") and version in ("v1", "v1beta1"):
                return Wanted(chosen, "PartialObjectMetadata", version)
    if fits_nothing and "json" not in accept:
        raise failures.not_acceptable(OFFERED)
    if fits_nothing or not discovery:
        raise failures.not_acceptable(OFFERED)
    return Wanted()
