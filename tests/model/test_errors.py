"""The error tree is as its docstring draws it."""

from __future__ import annotations

import re

from kaos_ext.kube.objects import ApiError
from kaos_ext.model import errors
from kaos_ext.model.errors import KaosError, NotFoundError, UnknownNameError

DRAWN = re.compile(r"─ (\w+) .* exit (\d)$")


def test_every_error_ends_a_command_with_the_status_that_the_docstring_says() -> None:
    drawn = [found for line in (errors.__doc__ or "").splitlines() if (found := DRAWN.search(line))]
    known = {"ApiError": ApiError, **vars(errors)}
    assert {line[1] for line in drawn} == {
        name for name, value in known.items() if isinstance(value, type) and value is not KaosError
    }
    for line in drawn:
        assert known[line[1]].exit_status == int(line[2]), line[0]


def test_a_wrong_name_is_a_wrong_word() -> None:
    assert issubclass(UnknownNameError, NotFoundError) and UnknownNameError.exit_status == 2
