"""What a rule allows, what it covers, and how a request is read."""

from __future__ import annotations

import pytest

from kaos_ext.cluster.apiserver.authz.attributes import Attributes, of_request
from kaos_ext.cluster.apiserver.authz.rules import Rule, described, missing, rule_of

PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
GET = Attributes("get", "", "pods", "", "g", "a", "v1")


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/namespaces/g/pods", {}, Attributes("list", "", "pods", "", "g", "", "v1")),
        ("GET", "/api/v1/pods", {"watch": "1"}, Attributes("watch", "", "pods", "", "", "", "v1")),
        ("GET", "/api/v1/namespaces/g/pods/a", {"watch": "1"}, GET),
        ("HEAD", "/api/v1/namespaces/g/pods/a", {}, GET),
        (
            "GET",
            "/api/v1/namespaces/g/pods",
            {"fieldSelector": "metadata.name=a"},
            Attributes("list", "", "pods", "", "g", "a", "v1"),
        ),
        ("GET", "/api/v1/namespaces", {}, Attributes("list", "", "namespaces", "", "", "", "v1")),
        ("GET", "/api/v1/namespaces/g", {}, Attributes("get", "", "namespaces", "", "g", "g", "v1")),
        (
            "PUT",
            "/api/v1/namespaces/g/finalize",
            {},
            Attributes("update", "", "namespaces", "finalize", "g", "g", "v1"),
        ),
        ("DELETE", "/apis/apps/v1/namespaces/g/deployments", {}, Attributes(
            "deletecollection", "apps", "deployments", "", "g", "", "v1")),
        ("POST", "/api/v1/namespaces/g/pods/a/eviction", {}, Attributes(
            "create", "", "pods", "eviction", "g", "a", "v1")),
        ("GET", "/api/v1/namespaces/g/services/a:80/proxy/x/y", {}, Attributes(
            "get", "", "services", "proxy", "g", "a:80", "v1")),
        ("GET", "/api/v1/namespaces/g/p%6fds/a", {}, GET),
        ("GET", "/apis/apps", {}, Attributes("get", path="/apis/apps")),
        ("GET", "/api/v1", {}, Attributes("get", path="/api/v1")),
        ("POST", "/metrics", {}, Attributes("post", path="/metrics")),
    ],
)  # fmt: skip
def test_a_request_is_read_from_its_path(method: str, path: str, query: dict[str, str], expected: Attributes) -> None:
    assert of_request(method, path, query) == expected


@pytest.mark.parametrize(
    ("rule", "wanted", "allowed"),
    [
        (PODS, GET, True),
        (PODS, GET._replace(verb="delete"), False),
        (PODS, GET._replace(group="apps"), False),
        (PODS, GET._replace(subresource="log"), False),
        ({**PODS, "resources": ["pods/log"]}, GET._replace(subresource="log"), True),
        ({**PODS, "resources": ["pods/log"]}, GET, False),
        ({**PODS, "resources": ["*/log"]}, GET._replace(subresource="log"), True),
        ({**PODS, "resources": ["*/log"]}, GET, False),
        ({**PODS, "resources": ["*"]}, GET._replace(subresource="log"), True),
        ({**PODS, "resourceNames": ["a"]}, GET, True),
        ({**PODS, "resourceNames": ["b"]}, GET, False),
        ({**PODS, "resourceNames": ["b"]}, GET._replace(verb="list", name=""), False),
        ({**PODS, "verbs": ["*"], "apiGroups": ["*"]}, GET._replace(verb="delete", group="apps"), True),
        ({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}, Attributes("get", path="/metrics"), True),
        ({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}, Attributes("get", path="/metrics/x"), False),
        ({"nonResourceURLs": ["/api/*"], "verbs": ["get"]}, Attributes("get", path="/api/v1"), True),
        ({"nonResourceURLs": ["/api/*"], "verbs": ["get"]}, Attributes("get", path="/apis"), False),
        ({"nonResourceURLs": ["*"], "verbs": ["*"]}, GET, False),
        ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, Attributes("get", path="/metrics"), False),
    ],
)
def test_a_rule_allows(rule: dict[str, list[str]], wanted: Attributes, allowed: bool) -> None:
    assert rule_of(rule).allows(wanted) is allowed


@pytest.mark.parametrize(
    ("held", "wanted", "lacking"),
    [
        (PODS, PODS, []),
        (PODS, {**PODS, "verbs": ["get", "delete"]}, ['{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}']),
        ({**PODS, "resourceNames": ["a"]}, PODS, ['{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}']),
        (PODS, {**PODS, "resourceNames": ["a"]}, []),
        ({**PODS, "resources": ["*/log"]}, {**PODS, "resources": ["pods/log"]}, []),
        ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {**PODS, "apiGroups": ["x", ""]}, []),
        (
            {"nonResourceURLs": ["/a/*"], "verbs": ["get"]},
            {"nonResourceURLs": ["/a/b", "/c"], "verbs": ["get"]},
            ['{NonResourceURLs:["/c"], Verbs:["get"]}'],
        ),
    ],
)
def test_what_rules_do_not_cover_is_listed(
    held: dict[str, list[str]], wanted: dict[str, list[str]], lacking: list[str]
) -> None:
    assert described(missing([rule_of(held)], [rule_of(wanted)])) == lacking


def test_rules_held_cover_together_what_none_covers_alone() -> None:
    held = [Rule(("get",), ("",), ("pods",)), Rule(("list",), ("",), ("pods",))]
    assert missing(held, [rule_of(PODS)]) == []
