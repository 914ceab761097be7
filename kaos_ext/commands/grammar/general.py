"""The verbs beside the three kinds: the embedded cluster, the operator, samples, files and the command itself."""

from __future__ import annotations

from kaos_ext.commands.grammar.shapes import Argument, Flag, Group, Names, Takes, Verb
from kaos_ext.commands.grammar.workloads import DRY_RUN, WAIT, WAIT_TIMEOUT

CLUSTER = Argument("cluster", "name of the cluster (default: default)", completes=Names.CLUSTERS, optional=True)
SYSTEM_NAMESPACE = "kaos-system"

GROUPS = (
    Group(("samples",), "ready-made examples: list, deploy, delete", aliases=("sample",)),
    Group(("system",), "the operator on the current cluster: status, runtimes, install, uninstall"),
)

CLUSTER_VERBS = (
    Verb(
        ("up",), "start a cluster on this machine, or connect to the running one", "kaos_ext.commands.cluster:up",
        "kaos up", description="Creates the cluster when there is none, installs the operator and makes "
        "`kaos-<name>` the current context of your kubeconfig.", arguments=(CLUSTER,), changes=True,
        flags=(
            Flag("ephemeral", "a new one that keeps no state and ends with the program that asked",
                 takes=Takes.NOTHING),
            Flag("idle", "stop by itself after this long without clients and work", takes=Takes.SECONDS,
                 metavar="SECONDS"),
            Flag("wait-timeout", "give up waiting after this long", takes=Takes.SECONDS, metavar="SECONDS",
                 default=60.0),
        ),
    ),
    Verb(
        ("down",), "stop the cluster: every process and port", "kaos_ext.commands.cluster:down", "kaos down",
        description="Its state is kept, so `kaos up` goes on where it was, unless --delete is given.",
        arguments=(CLUSTER,), changes=True,
        flags=(Flag("delete", "delete its state, agents' memories included", takes=Takes.NOTHING),),
    ),
    Verb(
        ("status",), "the cluster on this machine, the current context, and what runs there",
        "kaos_ext.commands.cluster:status", "kaos status", arguments=(CLUSTER,),
    ),
    Verb(
        ("backup",), "save a cluster of this machine, and what its agents remember, in one file",
        "kaos_ext.commands.backup:backup", "kaos backup before-upgrade.kaos.tar.gz",
        description="The cluster may run: the file is the cluster at one moment. It holds the cluster's keys and the "
        "values of its Secrets, so keep it as you would keep these. Not in it: pods' logs and scratch volumes.",
        arguments=(
            Argument("file", "where to write it; a folder gets one named after cluster and time",
                     completes=Names.FILES),
            CLUSTER,
        ),
        flags=(
            Flag("without-volumes", "leave out what agents and other pods keep", takes=Takes.NOTHING),
            Flag("force", "replace a file that is there", takes=Takes.NOTHING),
        ),
    ),
    Verb(
        ("restore",), "make a cluster on this machine from a backup; `kaos up` then starts it",
        "kaos_ext.commands.backup:restore", "kaos restore before-upgrade.kaos.tar.gz",
        description="Nothing that is there is replaced: give another name, or `kaos down --delete` first. Clients that "
        "watched the saved cluster list it anew.",
        arguments=(
            Argument("file", "the backup", completes=Names.FILES),
            Argument("cluster", "name of the cluster to make (default: the saved one's)", optional=True),
        ),
        changes=True,
        flags=(Flag("check", "only read the whole file and say what is in it", takes=Takes.NOTHING),),
    ),
    Verb(
        ("doctor",), "check what this machine and the current cluster offer, and say what to do",
        "kaos_ext.commands.doctor:doctor", "kaos doctor",
    ),
)  # fmt: skip

OTHER = (
    Verb(
        ("apply",), "create or change whatever a YAML file holds", "kaos_ext.commands.apply:apply",
        "kaos apply -f agent.yaml", changes=True, body="manifest",
        flags=(
            Flag("filename", "the file (`-` = standard input)", short="f", metavar="FILE", repeat=True,
                 completes=Names.FILES),
            Flag("manifest", "the YAML itself", metavar="YAML", hidden=True),
            Flag("force", "take over fields that others set", takes=Takes.NOTHING),
            DRY_RUN,
        ),
    ),
    Verb(
        ("samples", "list"), "the examples that come with KAOS", "kaos_ext.commands.samples:list_all",
        "kaos samples list",
    ),
    Verb(
        ("samples", "deploy"), "deploy an example", "kaos_ext.commands.samples:deploy",
        "kaos samples deploy 6-autonomous-monitor --modelapi openai -m gpt-4o", changes=True,
        arguments=(Argument("sample", "name of the example", completes=Names.SAMPLES),),
        flags=(
            Flag("modelapi", "use this ModelAPI instead of the example's own", metavar="NAME",
                 completes=Names.MODELAPIS),
            Flag("mode", "mode of its ModelAPI", choices=("Proxy", "Hosted"), ignore_case=True, metavar="MODE"),
            Flag("model", "model of its agents", short="m", metavar="MODEL"),
            Flag("provider", "provider of its ModelAPI", metavar="PROVIDER"),
            Flag("base-url", "address of the OpenAI-compatible server", metavar="URL"),
            Flag("api-secret", "the Secret and key that hold the API key", metavar="NAME:KEY"),
            WAIT, WAIT_TIMEOUT, DRY_RUN,
        ),
    ),
    Verb(
        ("samples", "delete"), "delete what an example made", "kaos_ext.commands.samples:delete",
        "kaos samples delete 6-autonomous-monitor", changes=True,
        arguments=(Argument("sample", "name of the example", completes=Names.SAMPLES),),
    ),
    Verb(
        ("system", "status"), "is the operator installed and working", "kaos_ext.commands.system:status",
        "kaos system status", default_namespace=SYSTEM_NAMESPACE,
    ),
    Verb(
        ("system", "runtimes"), "the runtimes an MCPServer can name", "kaos_ext.commands.system:runtimes",
        "kaos system runtimes", default_namespace=SYSTEM_NAMESPACE,
    ),
    Verb(
        ("system", "install"), "install or renew the operator and its CRDs on the current cluster",
        "kaos_ext.commands.system:install", "kaos system install --wait", changes=True, flags=(WAIT, WAIT_TIMEOUT),
        default_namespace=SYSTEM_NAMESPACE,
    ),
    Verb(
        ("system", "uninstall"), "remove the operator; with --crds also every agent, model and tool server",
        "kaos_ext.commands.system:uninstall", "kaos system uninstall", changes=True,
        flags=(Flag("crds", "remove the CRDs, and with them all objects of our kinds", takes=Takes.NOTHING),),
        default_namespace=SYSTEM_NAMESPACE,
    ),
    Verb(("version",), "the version of this package and of the cluster", "kaos_ext.commands.version:version",
         "kaos version"),
    Verb(
        ("completion",), "print the completion script of a shell", "kaos_ext.commands.completion:completion",
        'eval "$(kaos completion bash)"', shell_only=True,
        arguments=(Argument("shell", "bash, zsh or fish", choices=("bash", "zsh", "fish")),),
    ),
)  # fmt: skip
