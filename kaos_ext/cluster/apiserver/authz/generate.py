"""Make `data/rbac.json.gz`: `python -m kaos_ext.cluster.apiserver.authz.generate FILE`.

FILE has one object a line: the roles and bindings that a Kubernetes control plane makes for itself at its first start.
They get the field managers they have there; uids and times come when a cluster is made.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

from kaos_ext.cluster.apiserver import rules
from kaos_ext.cluster.apiserver.metadata import ordered
from kaos_ext.cluster.apiserver.resources import built_in
from kaos_ext.kube.objects import Object

_DATA = Path(__file__).parent.parent / "data"


def made(object: Object) -> Object:
    served = next(one for one in built_in() if one.kind == object["kind"])
    meta = object["metadata"]
    shaped = rules.shape(served, object)
    own = {key: value for key, value in shaped.items() if key != "rules" or not shaped.get("aggregationRule")}
    managed = rules.managed_fields(served, None, own, "kube-apiserver", "")
    if shaped.get("aggregationRule"):
        managed.insert(
            0,
            {
                "manager": "clusterrole-aggregation-controller",
                "operation": "Apply",
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:rules": {}},
            },
        )
    for entry in managed:
        entry.pop("time", None)
    shaped["metadata"] = {key: meta[key] for key in ("name", "namespace", "labels", "annotations") if key in meta}
    shaped["metadata"]["managedFields"] = managed
    return ordered(shaped, served.kind, served.api_version)


def main() -> None:
    objects = [made(json.loads(line)) for line in Path(sys.argv[1]).read_text().splitlines()]
    text = json.dumps(objects, separators=(",", ":"))
    (_DATA / "rbac.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
