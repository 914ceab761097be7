"""When is a cluster used? While a user's request is under way, for a while after it, and while a workload runs.

Pods in namespaces whose name ends in `-system` serve the cluster itself; they are no workload. The decision is pure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kaos_ext.kube.objects import Object

_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Use:
    """What is known of the cluster's use right now; times are monotonic."""

    open_requests: int
    last_request: float
    pods: Sequence[Object]

    @property
    def busy(self) -> bool:
        return self.open_requests > 0 or any(map(is_workload, self.pods))


def is_workload(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return not str(pod["metadata"]["namespace"]).endswith("-system") and phase not in ("Succeeded", "Failed")


async def unused(
    use: Callable[[], Use], seconds: float, clock: Callable[[], float] = time.monotonic, look: float = _LOOK_SECONDS
) -> None:
    """Return when the cluster has not been used for this long."""
    since = clock()
    while True:
        current = use()
        since = clock() if current.busy else max(since, current.last_request)
        left = since + seconds - clock()
        if left <= 0:
            return
        await asyncio.sleep(min(left, look))
