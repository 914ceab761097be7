"""What a new object gets because of others: a Pod its priority, tolerations and the token of its account, a claim its
class and a hold, a node the taint of one that is not ready.
"""

from __future__ import annotations

from kaos_ext.cluster.apiserver import failures, metadata
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.storage import Storage
from kaos_ext.kube.objects import Object

CLAIM_HOLD, VOLUME_HOLD = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_SECONDS = 3607
_POLICY, _POLICY_TITLE = "preemptionPolicy", "string value of PreemptionPolicy"
_PRIORITIES = "scheduling.k8s.io/priorityclasses"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_PATIENCE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
SYSTEM_CLASSES = {
    "system-cluster-critical": (
        2000000000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    "system-node-critical": (
        2000001000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
}


class Completion:
    """Reads other objects of the same storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._accounts = storage.collection("/serviceaccounts")

    def complete(self, served: Served, object: Object) -> None:
        if served.storage == "/pods":
            self._pod(served, object)
        elif served.storage == _PRIORITIES and object.get("globalDefault"):
            for stored in self._storage.collection(_PRIORITIES).scan():
                if stored.object.get("globalDefault"):
                    why = f"PriorityClass {stored.name} is already marked as default. Only one default can exist"
                    raise failures.forbidden(served, object["metadata"].get("name") or "", why)
        elif served.storage == "/persistentvolumeclaims":
            self._claim(object)
            _hold(object, CLAIM_HOLD)
        elif served.storage == "/persistentvolumes":
            _hold(object, VOLUME_HOLD)
        elif served.storage == "/nodes" and not is_ready(object):
            spec = object.setdefault("spec", {})
            if not any(one.get("key") == NOT_READY["key"] for one in spec.get("taints") or ()):
                spec["taints"] = [*(spec.get("taints") or ()), dict(NOT_READY)]

    def _pod(self, served: Served, pod: Object) -> None:
        spec = pod.get("spec") or {}
        self._account(served, pod, spec)
        tolerations = spec.setdefault("tolerations", [])
        for key in _PATIENCE:
            if not any(
                one.get("key") in (key, None, "") and one.get("effect") in ("NoExecute", None, "")
                for one in tolerations
            ):
                tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
        value, policy = self._priority(served, pod, spec)
        name = pod["metadata"].get("name") or ""
        for key, title, computed in (
            ("priority", "integer value of priority", value),
            (_POLICY, _POLICY_TITLE, policy),
        ):
            given = spec.setdefault(key, computed)
            if given != computed:
                why = (
                    f"the {title} ({given}) must not be provided in pod spec; priority admission controller computed "
                    f"{computed} from the given PriorityClass name"
                )
                raise failures.forbidden(served, name, why)
        runtime = spec.get("runtimeClassName")
        if runtime and self._storage.collection("node.k8s.io/runtimeclasses").get("", runtime) is None:
            raise failures.forbidden(served, name, f'pod rejected: RuntimeClass "{runtime}" not found')
        if spec.get("overhead") and not runtime:
            why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise failures.forbidden(served, name, why)

    def _account(self, served: Served, pod: Object, spec: Object) -> None:
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        namespace = pod["metadata"].get("namespace", "")
        account = self._accounts.get(namespace, name)
        if account is None and name != "default":
            why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            raise failures.forbidden(served, pod["metadata"].get("name") or "", why)
        if account is not None and not spec.get("imagePullSecrets") and account.object.get("imagePullSecrets"):
            spec["imagePullSecrets"] = metadata.copied(account.object["imagePullSecrets"])
        wanted = spec.get("automountServiceAccountToken")
        if wanted is None and account is not None:
            wanted = account.object.get("automountServiceAccountToken")
        if wanted is not False:
            _mount_token(spec)

    def _priority(self, served: Served, pod: Object, spec: Object) -> tuple[int, str]:
        name = spec.get("priorityClassName") or ""
        if name in SYSTEM_CLASSES:
            return SYSTEM_CLASSES[name][0], "PreemptLowerPriority"
        for stored in self._storage.collection(_PRIORITIES).scan():
            one = stored.object
            if one["metadata"]["name"] == name or (not name and one.get("globalDefault")):
                if not name:
                    spec["priorityClassName"] = stored.name
                return one.get("value", 0), one.get("preemptionPolicy") or "PreemptLowerPriority"
        if name:
            why = f"no PriorityClass with name {name} was found"
            raise failures.forbidden(served, pod["metadata"].get("name") or "", why)
        return 0, "PreemptLowerPriority"

    def _claim(self, claim: Object) -> None:
        spec = claim.get("spec") or {}
        if "storageClassName" in spec:
            return
        for stored in self._storage.collection("storage.k8s.io/storageclasses").scan():
            if (stored.object["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true":
                spec["storageClassName"] = stored.name
                return


def _mount_token(spec: Object) -> None:
    """The account's token, the authority of the API server and the namespace, where every client looks for them."""
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    without = [
        one for one in containers if all(m.get("mountPath") != TOKEN_PATH for m in one.get("volumeMounts") or ())
    ]
    if not without:
        return
    name = metadata.generated_name("kube-api-access-")
    volume = {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
            "defaultMode": 420,
        },
    }
    spec["volumes"] = [*(spec.get("volumes") or ()), volume]
    for container in without:
        mount = {"name": name, "readOnly": True, "mountPath": TOKEN_PATH}
        container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _hold(object: Object, finalizer: str) -> None:
    held = object["metadata"].get("finalizers") or []
    if finalizer not in held:
        object["metadata"]["finalizers"] = [*held, finalizer]


def is_ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
