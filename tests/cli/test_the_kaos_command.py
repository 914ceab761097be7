"""The command as a shell runs it: exit statuses, streams, completion, how long it takes to begin."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import KAOS, Kaos

pytestmark = pytest.mark.process


def test_help_is_everywhere_and_succeeds(kaos: Kaos) -> None:
    for words in ((), ("--help",), ("help",), ("agent", "--help"), ("agent", "deploy", "-h"), ("a2a", "--help")):
        done = kaos(*words)
        if words[0:1] == ("a2a",):
            assert done.returncode == 2 and done.stdout == ""
        else:
            assert done.returncode == 0 and "usage: kaos" in done.stdout and done.stderr == "", words


def test_wrong_words_exit_2_with_nothing_on_standard_output(kaos: Kaos) -> None:
    done = kaos("agent", "deploy", "a", "-a", "m", "-m", "g", "--auto-interval", "1.5")
    assert done.returncode == 2 and done.stdout == "" and "1 or 2" in done.stderr
    assert kaos("agnet").returncode == 2


def test_no_cluster_exits_1_and_points_to_up(kaos: Kaos) -> None:
    done = kaos("agent", "list", "--json")
    assert done.returncode == 1 and done.stdout == "" and "kaos up" in done.stderr


def test_a_cluster_that_does_not_answer_is_named_with_its_context(kaos: Kaos, environment: dict[str, str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {
        "current-context": "kaos-second",
        "contexts": [{"name": "kaos-second", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    Path(environment["KUBECONFIG"]).write_text(json.dumps(config))
    done = kaos("agent", "list")
    assert done.returncode == 1
    assert "kaos-second" in done.stderr and "kaos up second" in done.stderr and "Connection refused" in done.stderr


def test_versions(kaos: Kaos) -> None:
    assert kaos("--version").stdout.startswith("kaos ")
    done = kaos("version", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["version"]


def test_a_reader_that_goes_away_is_no_error_to_speak_of(environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [str(KAOS), "agent", "deploy", "--help"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(20), said) == (141, b"")


def test_an_interrupt_ends_it_with_130_and_without_a_traceback(environment: dict[str, str]) -> None:
    """The server accepts and never answers, so the command is surely waiting when it is interrupted."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.getsockname()[1]}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        Path(environment["KUBECONFIG"]).write_text(json.dumps(config))
        process = subprocess.Popen([str(KAOS), "agent", "list"], env=environment, stderr=subprocess.PIPE, text=True)
        server.settimeout(20)
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in said


def test_completion_offers_words_without_a_cluster_and_is_quiet_about_names(kaos: Kaos) -> None:
    assert kaos("__complete", "agent", "a2a", "").stdout.split("\n")[0].startswith("send\t")
    assert kaos("__complete", "apply", "-f", "").stdout.strip() == ":files"
    done = kaos("__complete", "agent", "get", "")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_one_the_shell_can_read(kaos: Kaos, environment: dict[str, str], shell: str) -> None:
    done = kaos("completion", shell)
    assert done.returncode == 0 and "__complete" in done.stdout
    if shutil.which(shell):
        check = subprocess.run([shell, "-n"], input=done.stdout, text=True, capture_output=True, env=environment)
        assert check.returncode == 0, check.stderr


def test_bash_completes_a_half_written_command(kaos: Kaos, environment: dict[str, str]) -> None:
    script = kaos("completion", "bash").stdout
    ask = f"{script}\nCOMP_WORDS=(kaos agent del); COMP_CWORD=2; _kaos_complete; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", ask], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "delete", done.stderr


def test_what_costs_time_is_loaded_only_when_it_is_used(environment: dict[str, str]) -> None:
    """Help and errors need no HTTP library; listing needs one, but neither pydantic nor the official client."""
    ask = (
        "import sys; from kaos_ext.commands.parse import parse; from kaos_ext.commands.help import help_text\n"
        "parse(['agent', 'list']); print(sorted({'aiohttp', 'pydantic', 'yaml', 'rich'} & set(sys.modules)))\n"
        "import kaos_ext.kube.client, kaos_ext.commands.agent\n"
        "print(sorted({'kubernetes', 'pydantic', 'rich', 'kopf', 'mcp', 'IPython'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, cwd=os.sep)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"], done.stdout + done.stderr
