"""One stored object as different API versions show it.

Most objects are shown as they are stored. An event and an autoscaler have two APIs; a custom resource may be served in
several versions, and shows the defaults of a schema that is newer than the object.
"""

from __future__ import annotations

from kaos_ext.cluster.apiserver.conversion import SHOWN
from kaos_ext.cluster.apiserver.metadata import ordered
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.storage import Stored, encode


def face(stored: Stored, served: Served) -> Stored:
    """`stored` as `served` shows it; the same object when nothing differs."""
    if served.definition is None and (served.api_version, served.kind) not in SHOWN:
        return stored
    if stored.views is None:
        return _shown(stored, served)
    found = stored.views.get(served)
    if found is None:
        found = stored.views[served] = _shown(stored, served)
    assert isinstance(found, Stored)
    return found


def written_by(stored: Stored, served: Served) -> None:
    """The object was just validated and defaulted by `served`'s own schema: it needs no other face there."""
    if stored.views is not None and served.definition and served.version == served.definition.storage_version:
        stored.views[served] = stored


def _shown(stored: Stored, served: Served) -> Stored:
    object = stored.fresh()
    if served.definition is None:
        object = SHOWN[served.api_version, served.kind](object)
    else:
        object["apiVersion"] = served.api_version
        served.definition.show(served.version, object)
    object = ordered(object, served.kind, served.api_version)
    encoded = encode(object)
    if encoded == stored.encoded:
        return stored
    return Stored(stored.namespace, stored.name, stored.revision, encoded, object)
