"""Credentials that take a program or an identity provider, fetched by the official client.

Its import takes most of a second, so only contexts whose user has `exec` or `auth-provider` come here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kaos_ext.kube.kubeconfig import Endpoint
from kaos_ext.model.errors import KaosError


async def resolve(endpoint: Endpoint) -> Endpoint:
    """The endpoint with the credentials that the plugin gave just now."""
    import os

    from kubernetes.aio import client, config

    configuration = client.Configuration()
    try:
        await config.load_kube_config(
            config_file=os.pathsep.join(endpoint.files),
            context=endpoint.context,
            client_configuration=configuration,
            persist_config=False,
        )
    except Exception as error:
        raise KaosError(
            f"the {endpoint.plugin} credentials of context `{endpoint.context}` failed: {error}",
            hint="run the plugin by hand, or use another --context",
        ) from error
    bearer = str(configuration.get_api_key_with_prefix("BearerToken") or "")
    return replace(
        endpoint,
        token=bearer.removeprefix("Bearer "),
        certificate=_text(configuration.cert_file) or endpoint.certificate,
        key=_text(configuration.key_file) or endpoint.key,
    )


def _text(path: str | None) -> str:
    return Path(path).read_text() if path else ""
