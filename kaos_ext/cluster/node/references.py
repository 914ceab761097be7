"""The API objects that pods refer to (ConfigMaps, Secrets, claims): only those, each followed while a pod uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from kaos_ext.cluster.client import Client
from kaos_ext.cluster.node.watching import Follower
from kaos_ext.kube.objects import Object, Resource

_Key = tuple[str, str, str]


@dataclass(eq=False)
class _Followed:
    follower: Follower
    task: asyncio.Task[None]
    users: dict[str, Callable[[], None]] = field(default_factory=dict)


class ReferencedObjects:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._followed: dict[_Key, _Followed] = {}

    async def get(
        self, user: str, resource: Resource, namespace: str, name: str, changed: Callable[[], None]
    ) -> Object | None:
        """The object as it is now, or None; `changed` is called at every later change until the user is released."""
        key = (resource.plural, namespace, name)
        followed = self._followed.get(key)
        if followed is None:
            users: dict[str, Callable[[], None]] = {}

            def tell(_object: Object, _gone: bool) -> None:
                for each in list(users.values()):
                    each()

            follower = Follower(
                self._client,
                resource,
                namespace if resource.namespaced else None,
                fields=f"metadata.name={name}",
                changed=tell,
            )
            task = asyncio.create_task(follower.run(), name=f"following {resource.plural} {namespace}/{name}")
            followed = self._followed[key] = _Followed(follower, task, users)
        await followed.follower.synced.wait()
        followed.users[user] = changed
        return followed.follower.objects.get((namespace if resource.namespaced else "", name))

    def release(self, user: str) -> None:
        for key, followed in list(self._followed.items()):
            followed.users.pop(user, None)
            if not followed.users:
                followed.task.cancel()
                del self._followed[key]

    async def close(self) -> None:
        tasks = [followed.task for followed in self._followed.values()]
        self._followed.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
