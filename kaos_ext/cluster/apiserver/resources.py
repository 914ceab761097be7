"""The built-in resources: what is served, under which names, with which subresources."""

from __future__ import annotations

from kaos_ext.cluster.apiserver.registry import VERBS, Served, Subresource, served
from kaos_ext.kube.objects import Resource

_CHANGE = ("get", "patch", "update")


def _status(kind: str) -> Subresource:
    return Subresource("status", kind, _CHANGE)


SCALE = Subresource("scale", "Scale", _CHANGE, "autoscaling", "v1")
_PROXY = ("create", "delete", "get", "patch", "update")

# plural, kind, namespaced, short names, categories, subresources (a letter each: s status, c scale)
_CORE = """
bindings Binding ns - - - create
configmaps ConfigMap ns cm - -
endpoints Endpoints ns ep - -
events Event ns ev - -
limitranges LimitRange ns limits - -
namespaces Namespace cluster ns - s create,delete,get,list,patch,update,watch
nodes Node cluster no - s
persistentvolumeclaims PersistentVolumeClaim ns pvc - s
persistentvolumes PersistentVolume cluster pv - s
pods Pod ns po all s
podtemplates PodTemplate ns - - -
replicationcontrollers ReplicationController ns rc all cs
resourcequotas ResourceQuota ns quota - s
secrets Secret ns - - -
serviceaccounts ServiceAccount ns sa - -
services Service ns svc all s
"""

_GROUPS = {
    "apiregistration.k8s.io/v1": "apiservices APIService cluster - api-extensions s",
    "apps/v1": """
controllerrevisions ControllerRevision ns - - -
daemonsets DaemonSet ns ds all s
deployments Deployment ns deploy all cs
replicasets ReplicaSet ns rs all cs
statefulsets StatefulSet ns sts all cs
""",
    "events.k8s.io/v1": "events Event ns ev - -",
    "authentication.k8s.io/v1": """
selfsubjectreviews SelfSubjectReview cluster - - - create
tokenreviews TokenReview cluster - - - create
""",
    "authorization.k8s.io/v1": """
localsubjectaccessreviews LocalSubjectAccessReview ns - - - create
selfsubjectaccessreviews SelfSubjectAccessReview cluster - - - create
selfsubjectrulesreviews SelfSubjectRulesReview cluster - - - create
subjectaccessreviews SubjectAccessReview cluster - - - create
""",
    "autoscaling/v2": "horizontalpodautoscalers HorizontalPodAutoscaler ns hpa all s",
    "autoscaling/v1": "horizontalpodautoscalers HorizontalPodAutoscaler ns hpa all s",
    "batch/v1": """
cronjobs CronJob ns cj all s
jobs Job ns - all s
""",
    "certificates.k8s.io/v1": "certificatesigningrequests CertificateSigningRequest cluster csr - s",
    "networking.k8s.io/v1": """
ingressclasses IngressClass cluster - - -
ingresses Ingress ns ing - s
ipaddresses IPAddress cluster ip - -
networkpolicies NetworkPolicy ns netpol - -
servicecidrs ServiceCIDR cluster - - s
""",
    "policy/v1": "poddisruptionbudgets PodDisruptionBudget ns pdb - s",
    "rbac.authorization.k8s.io/v1": """
clusterrolebindings ClusterRoleBinding cluster - - -
clusterroles ClusterRole cluster - - -
rolebindings RoleBinding ns - - -
roles Role ns - - -
""",
    "storage.k8s.io/v1": """
csidrivers CSIDriver cluster - - -
csinodes CSINode cluster - - -
csistoragecapacities CSIStorageCapacity ns - - -
storageclasses StorageClass cluster sc - -
volumeattachments VolumeAttachment cluster - - s
volumeattributesclasses VolumeAttributesClass cluster vac - -
""",
    "admissionregistration.k8s.io/v1": """
mutatingadmissionpolicies MutatingAdmissionPolicy cluster - api-extensions -
mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding cluster - api-extensions -
mutatingwebhookconfigurations MutatingWebhookConfiguration cluster - api-extensions -
validatingadmissionpolicies ValidatingAdmissionPolicy cluster - api-extensions s
validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding cluster - api-extensions -
validatingwebhookconfigurations ValidatingWebhookConfiguration cluster - api-extensions -
""",
    "apiextensions.k8s.io/v1": "customresourcedefinitions CustomResourceDefinition cluster crd,crds api-extensions s",
    "scheduling.k8s.io/v1": "priorityclasses PriorityClass cluster pc - -",
    "coordination.k8s.io/v1": "leases Lease ns - - -",
    "node.k8s.io/v1": "runtimeclasses RuntimeClass cluster - - -",
    "discovery.k8s.io/v1": "endpointslices EndpointSlice ns - - -",
    "resource.k8s.io/v1": """
deviceclasses DeviceClass cluster - - -
resourceclaims ResourceClaim ns - - s
resourceclaimtemplates ResourceClaimTemplate ns - - -
resourceslices ResourceSlice cluster - - -
""",
    "flowcontrol.apiserver.k8s.io/v1": """
flowschemas FlowSchema cluster - - s
prioritylevelconfigurations PriorityLevelConfiguration cluster - - s
""",
}

_MORE = {
    "/namespaces": (Subresource("finalize", "Namespace", ("update",)),),
    "/pods": (
        Subresource("binding", "Binding", ("create",)),
        Subresource("ephemeralcontainers", "Pod", _CHANGE),
        Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
        Subresource("log", "Pod", ("get",)),
        Subresource("proxy", "PodProxyOptions", _PROXY),
    ),
    "/serviceaccounts": (Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io", "v1"),),
    "certificates.k8s.io/certificatesigningrequests": (Subresource("approval", "CertificateSigningRequest", _CHANGE),),
    "/services": (Subresource("proxy", "ServiceProxyOptions", _PROXY),),
}

_STORED_AS = {"events.k8s.io/events": "/events"}
"""One set of events under two APIs."""

WITHOUT_STORE = frozenset(
    {
        "bindings",
        "selfsubjectreviews",
        "tokenreviews",
        "localsubjectaccessreviews",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "subjectaccessreviews",
    }
)
"""Questions, answered at once and kept nowhere."""


def built_in() -> list[Served]:
    found: list[Served] = []
    for group_version, lines in {"v1": _CORE, **_GROUPS}.items():
        group, _, version = group_version.rpartition("/")
        for line in lines.strip().splitlines():
            plural, kind, scope, short, categories, below, *verbs = line.split()
            subresources = list(_MORE.get(f"{group}/{plural}", ()))
            if "c" in below:
                subresources.append(SCALE)
            if "s" in below:
                subresources.append(_status(kind))
            own = f"{group}/{plural}"
            found.append(
                served(
                    Resource(group, version, plural, kind, scope == "ns"),
                    short_names=() if short == "-" else short.split(","),
                    categories=() if categories == "-" else categories.split(","),
                    subresources=sorted(subresources, key=lambda one: one.name),
                    storage=_STORED_AS.get(own, own),
                    verbs=tuple(verbs[0].split(",")) if verbs else VERBS,
                )
            )
    return found
