"""What came from Secrets is found in every form it takes, whole, cut off or in parts, and nothing else is touched."""

from __future__ import annotations

import base64
import json
import random
from urllib.parse import quote, quote_plus

import pytest

from kaos_ext.runtime.secrets import REDACTED, Redactor, secret_values, values_from_secrets

SECRET = 'sk-cän/ry "47+11"\\=='
PLAIN = "canary-4711-canary"
LINES = "\n".join(f"MIIEvQIBADANBgkqhkiG9w0BAQEF{number}" for number in range(3))
KEY = f"-----BEGIN KEY-----\n{LINES}\n-----END KEY-----\n"


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        json.dumps({"x": SECRET}),
        json.dumps(SECRET, ensure_ascii=False),
        quote(SECRET),
        f"https://u:{quote(SECRET, safe='')}@host/",
        quote_plus(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"me:{SECRET}\nand more".encode()).decode(),
        base64.b64encode(json.dumps({"auths": 1}).encode() + SECRET.encode() + b"}").decode(),
    ],
)
def test_it_is_found_however_it_is_written(written: str) -> None:
    shown = Redactor([SECRET]).text(f"before {written} after")
    assert REDACTED in shown and shown.startswith("before ") and shown.endswith(" after")
    for part in (SECRET[:8], quote(SECRET)[:10], base64.b64encode(SECRET.encode()).decode()[4:-4]):
        assert part not in shown


def test_white_space_around_the_value_of_a_secret_does_not_hide_it() -> None:
    assert Redactor([f"{PLAIN}\n"]).text(f"token={PLAIN}.") == f"token={REDACTED}."


def test_a_single_line_of_a_key_is_found() -> None:
    shown = Redactor([KEY]).text("it has MIIEvQIBADANBgkqhkiG9w0BAQEF1 in it, and BEGIN and END")
    assert shown == f"it has {REDACTED} in it, and BEGIN and END"


def test_a_number_is_found_as_a_number_and_a_text_as_a_key() -> None:
    redactor = Redactor(["47110815"])
    value = {"pin": 47110815, "47110815": [1.5, True, None, "47110815"], "n": 4711}
    assert redactor.value(value) == {"pin": REDACTED, REDACTED: [1.5, True, None, REDACTED], "n": 4711}


@pytest.mark.parametrize("kept", range(6, len(PLAIN)))
def test_what_was_cut_off_in_the_middle_of_it_does_not_show_its_beginning(kept: int) -> None:
    text = "x" * 1990 + PLAIN[:kept]
    assert Redactor([PLAIN]).text(text) == "x" * 1990 + REDACTED


def test_ordinary_text_stays_as_it_is() -> None:
    text = "canary birds sing, 4711 is a number, and canary-4711 is the beginning of something" * 5
    assert Redactor([PLAIN, KEY, SECRET]).text(text) == text


def test_parts_of_a_stream_never_show_it_wherever_it_is_cut() -> None:
    chance = random.Random(7)
    secrets = [PLAIN, "canary", "abcabcabd", SECRET]
    pieces = [*secrets, "can", "canar", "abc", "abcabc", " ", "sk-", "harmless text ", "x"]
    for _ in range(2000):
        whole = "".join(chance.choice(pieces) for _ in range(chance.randint(1, 8)))
        stream = Redactor(secrets).stream()
        shown, at = "", 0
        while at < len(whole):
            size = chance.randint(1, 9)
            shown += stream.feed(whole[at : at + size])
            at += size
        shown += stream.end()
        assert not any(secret in shown for secret in secrets), whole
        stripped = shown.replace(REDACTED, "")
        assert len(stripped) <= len(whole) and set(stripped) <= set(whole)


def test_a_stream_without_a_secret_in_it_loses_nothing_and_waits_for_little() -> None:
    stream = Redactor([PLAIN]).stream()
    assert stream.feed("the can is he") == "the can is he"
    assert stream.feed("re, ca") == "re, "
    assert stream.feed("r and canary") == "car and "
    assert stream.feed("") == ""
    assert stream.end() == "canary"
    assert Redactor([]).stream().feed("canary") == "canary"


def test_which_values_are_secret() -> None:
    env = {"API_KEY": "value-1", "SORT_KEY": "created", "DB": "value-2", "SHORT_TOKEN": "x", "PLAIN": "value-3"}
    assert secret_values(env) == {"value-1", "created"}
    assert secret_values({**env, "KAOS_SECRET_VARIABLES": "DB, API_KEY"}) == {"value-1", "value-2", "created"}
    assert values_from_secrets({**env, "KAOS_SECRET_VARIABLES": "DB, API_KEY"}) == {"value-1", "value-2"}
    assert values_from_secrets(env) == {"value-1", "created"}, "nobody says which: better too many"
