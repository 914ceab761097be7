"""Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs."""

from __future__ import annotations

import re
import zoneinfo
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.selectors import LabelSelector, SelectorError
from kaos_ext.cluster.apiserver.validations.label_selectors import selector_errors
from kaos_ext.cluster.apiserver.validations.pods import template_errors

Object = dict[str, Any]

NOT_NEGATIVE = "must be greater than or equal to 0"
_CANDIDATE = 'valid values: "OnFailure", "Never"'


def not_negative(spec: Object, path: str, *keys: str) -> list[FieldError]:
    return [
        errors.invalid(f"{path}.{key}", spec[key], NOT_NEGATIVE)
        for key in keys
        if isinstance(spec.get(key), int) and spec[key] < 0
    ]


def selector_of_template(spec: Object, kind: str) -> list[FieldError]:
    """A workload's selector, and that it selects what the workload makes."""
    selector = spec.get("selector")
    found: list[FieldError] = []
    if selector is None:
        found.append(errors.required("spec.selector"))
    else:
        found += selector_errors(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            found.append(errors.invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
            return found
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    try:
        matches = selector is not None and LabelSelector.of(selector).matches(labels)
    except SelectorError:  # said by selector_errors
        return found
    if not matches:
        why = "`selector` does not match template `labels`"
        found.append(errors.invalid("spec.template.metadata.labels", labels, why))
    return found


def _always(spec: Object) -> list[FieldError]:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    path = "spec.template.spec.restartPolicy"
    found = [] if policy == "Always" else [errors.not_supported(path, policy, ["Always"])]
    template = (spec.get("template") or {}).get("spec") or {}
    if template.get("activeDeadlineSeconds") is not None:
        words = "activeDeadlineSeconds in ReplicaSet is not Supported"
        found.append(errors.forbidden("spec.template.spec.activeDeadlineSeconds", words))
    if template.get("ephemeralContainers"):
        words = "ephemeral containers not allowed in pod template"
        found.append(errors.forbidden("spec.template.spec.ephemeralContainers", words))
    return found


def _immutable(new: Object, old: Object | None, *keys: str) -> list[FieldError]:
    if old is None:
        return []
    was = old.get("spec") or {}
    return [
        errors.invalid(f"spec.{key}", new.get(key), "field is immutable")
        for key in keys
        if new.get(key) != was.get(key)
    ]


def _amount(value: Any) -> int:
    """An int or a percentage as a number; only whether it is zero matters."""
    return value if isinstance(value, int) else int(str(value or "0").removesuffix("%") or 0)


def _rolling(spec: Object, member: str, *, daemon: bool = False) -> list[FieldError]:
    strategy = spec.get(member) or {}
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    path = f"spec.{member}"
    allowed = ("OnDelete", "RollingUpdate") if daemon or member == "updateStrategy" else ("Recreate", "RollingUpdate")
    if kind not in allowed:
        shown = {"Type": kind, "RollingUpdate": rolling}
        return [errors.not_supported(path, shown, sorted(allowed, reverse=daemon))]
    if kind == "Recreate" and rolling is not None:
        why = "may not be specified when strategy `type` is 'Recreate'"
        return [errors.forbidden(f"{path}.rollingUpdate", why)]
    if kind != "RollingUpdate" or rolling is None:
        return []
    found: list[FieldError] = []
    for key in ("maxUnavailable", "maxSurge"):
        value = rolling.get(key)
        here = f"{path}.rollingUpdate.{key}"
        if isinstance(value, str) and not re.fullmatch(r"[0-9]+%", value):
            why = (
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                "regex used for validation is '[0-9]+%')"
            )
            found.append(errors.invalid(here, value, why))
        elif isinstance(value, int) and value < 0:
            found.append(errors.invalid(here, value, NOT_NEGATIVE))
        elif isinstance(value, str) and key == "maxUnavailable" and int(value[:-1]) > 100:
            found.append(errors.invalid(here, value, "must not be greater than 100%"))
    both = [rolling.get(key) for key in ("maxUnavailable", "maxSurge")]
    if not found and daemon and None not in both:
        here = f"{path}.rollingUpdate"
        if all(_amount(value) for value in both):
            why = "may not be set when maxUnavailable is non-zero"
            return [errors.invalid(f"{here}.maxSurge", both[1], why)]
        if not any(_amount(value) for value in both):
            return [errors.required(f"{here}.maxUnavailable", "cannot be 0 when maxSurge is 0")]
        return []
    if not found and None not in both and not any(_amount(value) for value in both):
        why = "may not be 0 when `maxSurge` is 0"
        found.append(errors.invalid(f"{path}.rollingUpdate.maxUnavailable", both[0], why))
    return found


def deployment_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    found = selector_of_template(spec, "deployment")
    found += template_errors(spec.get("template") or {}, "spec.template")
    found += _always(spec) + _rolling(spec, "strategy")
    found += not_negative(
        spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"
    )
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        why = "must be greater than minReadySeconds"
        found.append(errors.invalid("spec.progressDeadlineSeconds", deadline, why))
    return found + _immutable(spec, old, "selector")


def replica_set_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    found = selector_of_template(spec, "replicaset")
    found += template_errors(spec.get("template") or {}, "spec.template") + _always(spec)
    found += not_negative(spec, "spec", "replicas", "minReadySeconds")
    return found + _immutable(spec, old, "selector")


def replication_controller_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    if not spec.get("template"):
        return [errors.required("spec.template")]
    found = [] if spec.get("selector") else [errors.required("spec.selector")]
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if not found and not spec["selector"].items() <= labels.items():
        why = "`selector` does not match template `labels`"
        found.append(errors.invalid("spec.template.metadata.labels", labels, why))
    found += template_errors(spec["template"], "spec.template") + _always(spec)
    return found + not_negative(spec, "spec", "replicas", "minReadySeconds")


_STATEFUL_CHANGES = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFUL_FREE = frozenset(
    {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
)


def stateful_set_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    found = selector_of_template(spec, "statefulset")
    found += template_errors(spec.get("template") or {}, "spec.template") + _always(spec)
    found += not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
    if spec.get("podManagementPolicy") not in ("OrderedReady", "Parallel"):
        found.append(
            errors.invalid(
                "spec.podManagementPolicy",
                spec.get("podManagementPolicy"),
                "must be 'OrderedReady' or 'Parallel'",
            )
        )
    partition = ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0
    if partition < 0:
        found.append(errors.invalid("spec.updateStrategy.rollingUpdate.partition", partition, NOT_NEGATIVE))
    for key in ("whenDeleted", "whenScaled"):
        policy = (spec.get("persistentVolumeClaimRetentionPolicy") or {}).get(key)
        if policy not in ("Retain", "Delete", None):
            where = f"spec.persistentVolumeClaimRetentionPolicy.{key}"
            found.append(errors.not_supported(where, policy, ("Retain", "Delete")))
    found += not_negative(spec.get("ordinals") or {}, "spec.ordinals", "start")
    if old is not None:
        was = old.get("spec") or {}
        if any(spec.get(key) != was.get(key) for key in (spec.keys() | was.keys()) - _STATEFUL_FREE):
            found.append(errors.forbidden("spec", _STATEFUL_CHANGES))
    return found


def daemon_set_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    found = selector_of_template(spec, "daemonset")
    found += template_errors(spec.get("template") or {}, "spec.template") + _always(spec)
    found += _rolling(spec, "updateStrategy", daemon=True)
    found += not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit")
    return found + _immutable(spec, old, "selector")


_FAILURE_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")


def _job_spec(spec: Object, path: str) -> list[FieldError]:
    found = not_negative(
        spec,
        path,
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    )
    if spec.get("completionMode") not in (None, "NonIndexed", "Indexed"):
        found.append(errors.not_supported(f"{path}.completionMode", spec["completionMode"], ("NonIndexed", "Indexed")))
    for index, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        here = f"{path}.podFailurePolicy.rules[{index}]"
        if rule.get("action") not in _FAILURE_ACTIONS:
            found.append(errors.not_supported(f"{here}.action", rule.get("action") or "", _FAILURE_ACTIONS))
        if not rule.get("onExitCodes") and not rule.get("onPodConditions"):
            why = "specifying one of OnExitCodes and OnPodConditions is required"
            found.append(FieldError(here, "FieldValueInvalid", f"Invalid value: {why}"))
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        found.append(errors.required(f"{path}.completions", "when completion mode is Indexed"))
    template = spec.get("template") or {}
    policy = (template.get("spec") or {}).get("restartPolicy")
    wrong = [one for one in template_errors(template, f"{path}.template") if not one.path.endswith(".restartPolicy")]
    found += wrong
    if policy not in ("OnFailure", "Never"):
        where = f"{path}.template.spec.restartPolicy"
        if policy in (None, "", "Always"):
            found.append(errors.required(where, _CANDIDATE))
        else:
            found.append(errors.not_supported(where, policy, ["OnFailure", "Never"]))
    return found


def job_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    found: list[FieldError] = []
    uid = (new.get("metadata") or {}).get("uid", "")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    selector = spec.get("selector")
    if old is None and selector is not None and not spec.get("manualSelector"):
        automatic = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        if selector != automatic:
            found.append(errors.invalid("spec.selector", selector, "`selector` not auto-generated"))
    if selector is not None and not LabelSelector.of(selector).matches(labels):
        why = "`selector` does not match template `labels`"
        found.append(errors.invalid("spec.template.metadata.labels", labels, why))
    found += _job_spec(spec, "spec")
    if old is not None:
        fixed = ["selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"]
        was = old.get("spec") or {}
        if spec.get("completionMode") != "Indexed" or spec.get("completions") != spec.get("parallelism"):
            fixed.append("completions")
        if was.get("suspend") and not (old.get("status") or {}).get("startTime"):
            found += _suspended_template(spec, was)
            fixed.remove("template")
        found += _immutable(spec, old, *fixed)
    return found


def _suspended_template(spec: Object, was: Object) -> list[FieldError]:
    """A job that has not begun may change where its pods run."""

    def fixed(template: Object) -> Object:
        free = {"nodeSelector", "affinity", "tolerations", "schedulingGates"}
        return {key: value for key, value in (template.get("spec") or {}).items() if key not in free}

    if fixed(spec.get("template") or {}) != fixed(was.get("template") or {}):
        return [errors.invalid("spec.template", spec.get("template"), "field is immutable")]
    return []


_CONCURRENCY = ("Allow", "Forbid", "Replace")


def cron_job_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    found = not_negative(
        spec, "spec", "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"
    )
    schedule = spec.get("schedule") or ""
    if not schedule:
        found.append(errors.required("spec.schedule"))
    elif "TZ" in schedule:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        found.append(errors.invalid("spec.schedule", schedule, why))
    elif wrong := schedule_problem(schedule):
        found.append(errors.invalid("spec.schedule", schedule, wrong))
    zone = spec.get("timeZone")
    if zone is not None:
        found += _zone(zone)
    policy = spec.get("concurrencyPolicy")
    if policy not in _CONCURRENCY:
        found.append(errors.not_supported("spec.concurrencyPolicy", policy, _CONCURRENCY))
    return found + _job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")


def _zone(zone: str) -> list[FieldError]:
    if not zone:
        return [errors.invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")]
    if zone.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [errors.invalid("spec.timeZone", zone, why)]
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return [errors.invalid("spec.timeZone", zone, f"unknown time zone {zone}")]
    return []


_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def schedule_problem(schedule: str) -> str:
    """Why a cron schedule cannot be read; empty when it can."""
    if schedule.startswith("@"):
        if schedule in _DESCRIPTORS or re.fullmatch(r"@every (\d+(\.\d+)?(ns|us|ms|s|m|h))+", schedule):
            return ""
        return f"unrecognized descriptor: {schedule}"
    fields = schedule.split()
    if len(fields) != 5:
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    for index, (text, bounds) in enumerate(zip(fields, _BOUNDS, strict=True)):
        names = _MONTHS if index == 3 else _DAYS if index == 4 else ()
        for part in text.split(","):
            if wrong := _cron_part(part, bounds, names):
                return wrong
    return ""


def _cron_part(part: str, bounds: tuple[int, int], names: tuple[str, ...]) -> str:
    body, slash, step = part.partition("/")
    if slash and (not step.isdigit() or int(step) == 0):
        return (
            f"failed to parse int from {step}"
            if not step.isdigit()
            else f"step of range should be a positive number: {part}"
        )
    if body in ("*", "?"):
        return ""
    numbers: list[int] = []
    for word in body.split("-"):
        if word.lower() in names:
            numbers.append(names.index(word.lower()) + bounds[0])
        elif word.isdigit():
            numbers.append(int(word))
        else:
            return f'failed to parse int from {word}: strconv.Atoi: parsing "{word}": invalid syntax'
    if len(numbers) > 2:
        return f"too many hyphens: {part}"
    if numbers[0] < bounds[0]:
        return f"beginning of range ({numbers[0]}) below minimum ({bounds[0]}): {part}"
    if numbers[-1] > bounds[1]:
        return f"end of range ({numbers[-1]}) above maximum ({bounds[1]}): {part}"
    if numbers[0] > numbers[-1]:
        return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[-1]}): {part}"
    return ""
