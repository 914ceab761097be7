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
        raise _failed(endpoint, error) from error
    bearer = str(await configuration.get_api_key_with_prefix("BearerToken") or "")
    certificate = _text(configuration.cert_file)
    if not bearer and not certificate:
        # The official client only logs it when a plugin fails.
        raise _failed(endpoint, "it gave neither a token nor a certificate")
    return replace(
        endpoint,
        token=bearer.removeprefix("Bearer "),
        certificate=certificate or endpoint.certificate,
        key=_text(configuration.key_file) or endpoint.key,
    )


def _failed(endpoint: Endpoint, why: object) -> KaosError:
    return KaosError(
        f"the {endpoint.plugin} credentials of context `{endpoint.context}` failed: {why}",
        hint="run the plugin by hand, or use another --context",
    )


def _text(path: str | None) -> str:
    return Path(path).read_text() if path else ""
