"""Label selectors as objects have them."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import label_value_errors, qualified_name_errors

Object = dict[str, Any]


def selector_errors(selector: Object, path: str) -> list[FieldError]:
    """A `meta/v1 LabelSelector`."""
    found: list[FieldError] = []
    for key, value in (selector.get("matchLabels") or {}).items():
        found += [errors.invalid(f"{path}.matchLabels", key, why) for why in qualified_name_errors(key)]
        found += [errors.invalid(f"{path}.matchLabels", value, why) for why in label_value_errors(value)]
    for index, term in enumerate(selector.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{index}]"
        operator, values = term.get("operator", ""), term.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                why = "must be specified when `operator` is 'In' or 'NotIn'"
                found.append(errors.required(f"{here}.values", why))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                found.append(errors.forbidden(f"{here}.values", why))
        else:
            found.append(errors.invalid(f"{here}.operator", operator, "not a valid selector operator"))
        key = term.get("key") or ""
        found += [errors.invalid(f"{here}.key", key, why) for why in qualified_name_errors(key)]
    return found
