"""What names, labels and keys may look like: each function gives the real server's complaints, none when well."""

from __future__ import annotations

import re

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_RFC1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_KEY = r"[-._a-zA-Z0-9]+"
_ENV = r"[-._a-zA-Z][-._a-zA-Z0-9]*"
_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"

_label = re.compile(_LABEL)
_subdomain = re.compile(_SUBDOMAIN)
_rfc1035 = re.compile(_RFC1035)
_qualified = re.compile(_QUALIFIED)
_value = re.compile(_VALUE)
_key = re.compile(_KEY)


def _explain(message: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples).rstrip()
    return f"{message} (e.g. {shown} regex used for validation is '{pattern}')"


def max_length(limit: int) -> str:
    return f"must be no more than {limit} characters"


def dns_label_errors(name: str) -> list[str]:
    """An RFC 1123 label: namespaces, containers, ports."""
    errors = [] if len(name) <= 63 else [max_length(63)]
    if not _label.fullmatch(name):
        errors.append(
            _explain(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
                "and end with an alphanumeric character",
                _LABEL,
                "my-name",
                "123-abc",
            )
        )
    return errors


def dns_subdomain_errors(name: str) -> list[str]:
    """An RFC 1123 subdomain: the names of most objects."""
    errors = [] if len(name) <= 253 else [max_length(253)]
    if not _subdomain.fullmatch(name):
        errors.append(
            _explain(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
                "must start and end with an alphanumeric character",
                _SUBDOMAIN,
                "example.com",
            )
        )
    return errors


def dns1035_errors(name: str) -> list[str]:
    """An RFC 1035 label: plurals of CRDs, older Services."""
    errors = [] if len(name) <= 63 else [max_length(63)]
    if not _rfc1035.fullmatch(name):
        errors.append(
            _explain(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
                "character, and end with an alphanumeric character",
                _RFC1035,
                "my-name",
                "abc-123",
            )
        )
    return errors


def qualified_name_errors(name: str) -> list[str]:
    """`prefix/name`: label keys, annotation keys, finalizers."""
    prefix, slash, rest = name.partition("/")
    errors: list[str] = []
    if slash and "/" not in rest:
        if not prefix:
            errors.append("prefix part must be non-empty")
        else:
            errors += [f"prefix part {error}" for error in dns_subdomain_errors(prefix)]
        name = rest
    elif slash:
        return [
            _explain(
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
                "with an alphanumeric character",
                _QUALIFIED,
                "MyName",
                "my.name",
                "123-abc",
            )
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > 63:
        errors.append("name part " + max_length(63))
    if not _qualified.fullmatch(name):
        errors.append(
            "name part "
            + _explain(
                "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
                "character",
                _QUALIFIED,
                "MyName",
                "my.name",
                "123-abc",
            )
        )
    return errors


def label_value_errors(value: str) -> list[str]:
    errors = [] if len(value) <= 63 else [max_length(63)]
    if not _value.fullmatch(value):
        errors.append(
            _explain(
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
                "must start and end with an alphanumeric character",
                _VALUE,
                "MyValue",
                "my_value",
                "12345",
            )
        )
    return errors


def config_key_errors(key: str) -> list[str]:
    """A key of a ConfigMap or Secret: it becomes a file name."""
    errors = [] if len(key) <= 253 else [max_length(253)]
    if not _key.fullmatch(key):
        errors.append(
            _explain(
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                _KEY,
                "key.name",
                "KEY_NAME",
                "key-name",
            )
        )
    if key == ".":
        errors.append("must not be '.'")
    elif key == "..":
        errors.append("must not be '..'")
    elif key.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def env_name_errors(name: str) -> list[str]:
    """An environment variable: any printable ASCII but '='."""
    if name and all(" " <= character <= "~" and character != "=" for character in name):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_name_errors(name: str) -> list[str]:
    """An IANA service name: ports of containers, named target ports."""
    errors: list[str] = []
    if len(name) > 15:
        errors.append("must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", name):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", name):
        errors.append("must contain at least one letter (a-z)")
    if "--" in name:
        errors.append("must not contain consecutive hyphens")
    if name and (name[0] == "-" or name[-1] == "-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def path_segment_errors(name: str) -> list[str]:
    """The names of RBAC objects: anything that is one segment of a path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in name]
