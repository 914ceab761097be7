"""The verbs of the three kinds: `modelapi`, `mcp` and `agent`. Flags are those of the published KAOS command line."""

from __future__ import annotations

from kaos_ext.commands.grammar.shapes import Argument, Flag, Group, Names, Takes, Verb

WAIT = Flag("wait", "wait until it is ready, saying what is waited for", takes=Takes.NOTHING)
WAIT_TIMEOUT = Flag(
    "wait-timeout", "give up waiting after this long", takes=Takes.SECONDS, metavar="SECONDS", default=120.0
)
DRY_RUN = Flag("dry-run", "print the YAML and change nothing", takes=Takes.NOTHING)
ENV = Flag("env", "an environment variable of its container", short="e", metavar="KEY=VALUE", repeat=True)
OUTPUT = Flag(
    "output", "another form", short="o", metavar="FORM", choices=("table", "wide", "yaml", "json", "name"),
    default="table",
)  # fmt: skip
ALL_NAMESPACES = Flag("all-namespaces", "of every namespace", short="A", takes=Takes.NOTHING)
FOLLOW = Flag("follow", "go on as lines are written", short="f", takes=Takes.NOTHING)
TAIL = Flag("tail", "only the last lines", takes=Takes.INTEGER, metavar="LINES", minimum=0)
PREVIOUS = Flag("previous", "of the container before its last restart", takes=Takes.NOTHING)
PORT = Flag(
    "port", "accepted and not needed: no local port is opened", short="p", takes=Takes.INTEGER, metavar="PORT",
    hidden=True,
)  # fmt: skip
SESSION = Flag("session-id", "the conversation to use", short="s", metavar="ID")
TIMEOUT = Flag("timeout", "give up after this long", takes=Takes.SECONDS, metavar="SECONDS", default=120.0)


def seconds(name: str, help: str, maximum: int) -> Flag:
    """A whole number of seconds, as the field of the object is an integer."""
    return Flag(name, help, takes=Takes.INTEGER, metavar="SECONDS", minimum=0, maximum=maximum)


def existing(names: Names, what: str) -> Argument:
    return Argument("name", f"name of the {what}", completes=names)


def common(word: str, kind: str, names: Names, module: str) -> tuple[Verb, ...]:
    """list, get, logs and delete, which are alike for the three kinds."""
    name = existing(names, kind)
    return (
        Verb(
            (word, "list"), f"the {kind}s of the namespace", f"{module}:list_all", f"kaos {word} list -o wide",
            flags=(OUTPUT, ALL_NAMESPACES),
        ),
        Verb(
            (word, "get"), f"one {kind}: its state, what it waits for, its settings", f"{module}:get",
            f"kaos {word} get my-{word} -o yaml", arguments=(name,), flags=(OUTPUT,),
        ),
        Verb(
            (word, "logs"), f"what the {kind}'s process printed", f"{module}:logs", f"kaos {word} logs my-{word} -f",
            arguments=(name,), flags=(FOLLOW, TAIL, PREVIOUS), streams=True,
        ),
        Verb(
            (word, "delete"), f"delete the {kind} and everything it owns", f"{module}:delete",
            f"kaos {word} delete my-{word}", arguments=(name,), changes=True,
            flags=(
                Flag("force", "accepted: nothing is ever asked", takes=Takes.NOTHING, hidden=True),
                Flag("wait", "wait until it is gone", takes=Takes.NOTHING),
                WAIT_TIMEOUT,
            ),
        ),
    )  # fmt: skip


GROUPS = (
    Group(("modelapi",), "models behind one address: deploy, list, get, logs, delete, invoke"),
    Group(("mcp",), "tool servers: deploy, list, get, logs, delete, invoke", aliases=("mcpserver",)),
    Group(("agent",), "agents: deploy, list, get, watch, memory, invoke, pause, resume …"),
    Group(("agent", "a2a"), "tasks of an agent over A2A: send, get, cancel, list"),
)

MODELAPI = (
    Verb(
        ("modelapi", "deploy"),
        "deploy a ModelAPI: a proxy to a provider, or a model served in the cluster",
        "kaos_ext.commands.modelapi:deploy",
        "kaos modelapi deploy openai --provider openai --model gpt-4o --api-secret openai-key:token --wait",
        description="With no --model a proxy accepts every model name.",
        changes=True,
        arguments=(Argument("name", "name of the ModelAPI", new=True),),
        flags=(
            Flag("mode", "Proxy to a provider, or Hosted in the cluster", choices=("Proxy", "Hosted"),
                 ignore_case=True, default="Proxy", metavar="MODE"),
            Flag("model", "a model it answers for (`*` and `prefix/*` allowed)", short="m", metavar="MODEL",
                 repeat=True),
            Flag("provider", "prefix of the provider, e.g. openai", metavar="PROVIDER"),
            Flag("base-url", "address of the OpenAI-compatible server", metavar="URL"),
            Flag("api-secret", "the Secret and key that hold the API key", metavar="NAME:KEY"),
            ENV, WAIT, WAIT_TIMEOUT, DRY_RUN,
        ),
    ),
    *common("modelapi", "ModelAPI", Names.MODELAPIS, "kaos_ext.commands.modelapi"),
    Verb(
        ("modelapi", "invoke"), "ask a model one question", "kaos_ext.commands.modelapi:invoke",
        'kaos modelapi invoke openai --model gpt-4o -m "Say hello"',
        arguments=(existing(Names.MODELAPIS, "ModelAPI"),), body="message",
        flags=(
            Flag("message", "what to ask", short="m", metavar="TEXT", required=True),
            Flag("model", "which model (default: its first)", metavar="MODEL"),
            TIMEOUT, PORT,
        ),
    ),
)  # fmt: skip

MCP = (
    Verb(
        ("mcp", "deploy"),
        "deploy a tool server",
        "kaos_ext.commands.mcp:deploy",
        "kaos mcp deploy echo --runtime python-string --params 'def echo(message: str) -> str: return message'",
        description="With runtime python-string every function of the source is a tool. In a notebook, "
        "`%%kaos mcp deploy NAME` takes the functions of the cell.",
        changes=True,
        body="params",
        arguments=(Argument("name", "name of the MCPServer", new=True),),
        flags=(
            Flag("runtime", "a runtime of `kaos system runtimes`, or custom", metavar="RUNTIME"),
            Flag("params", "its configuration; for python-string the source", metavar="TEXT"),
            Flag("params-file", "read --params from a file (`-` = standard input)", metavar="FILE",
                 completes=Names.FILES),
            Flag("image", "container image (runtime custom)", short="i", metavar="IMAGE"),
            Flag("sa", "service account of its pod", metavar="NAME"),
            ENV, WAIT, WAIT_TIMEOUT, DRY_RUN,
        ),
    ),
    *common("mcp", "MCPServer", Names.MCPSERVERS, "kaos_ext.commands.mcp"),
    Verb(
        ("mcp", "invoke"), "list the tools of a server, or call one", "kaos_ext.commands.mcp:invoke",
        """kaos mcp invoke echo -t echo -a '{"message": "hello"}'""",
        arguments=(existing(Names.MCPSERVERS, "MCPServer"),),
        flags=(
            Flag("tool", "the tool to call (without: list them)", short="t", metavar="TOOL"),
            Flag("args", "its arguments as a JSON object", short="a", metavar="JSON"),
            TIMEOUT, PORT,
        ),
    ),
)  # fmt: skip

AGENT_NAME = existing(Names.AGENTS, "Agent")
AGENT = (
    Verb(
        ("agent", "deploy"),
        "deploy an agent, autonomous when it gets a goal",
        "kaos_ext.commands.agent:deploy",
        'kaos agent deploy monitor --modelapi openai --model gpt-4o --mcp echo --autonomous "Check and report" '
        "--auto-interval 60 --wait",
        changes=True,
        arguments=(Argument("name", "name of the Agent", new=True),),
        flags=(
            Flag("modelapi", "the ModelAPI it thinks with", short="a", metavar="NAME", required=True,
                 completes=Names.MODELAPIS),
            Flag("model", "the model", short="m", metavar="MODEL", required=True),
            Flag("image", "its own container image", short="i", metavar="IMAGE"),
            Flag("description", "what its card says", short="d", metavar="TEXT"),
            Flag("instructions", "system instructions", metavar="TEXT"),
            Flag("mcp", "a tool server it may use", metavar="NAME", repeat=True, completes=Names.MCPSERVERS),
            Flag("sub-agent", "an agent it may delegate to", metavar="NAME", repeat=True, completes=Names.AGENTS),
            Flag("expose", "give it a Service and an endpoint (the default)", takes=Takes.NOTHING),
            Flag("mock-response", "a recorded model answer, in order; the model is then never called",
                 metavar="TEXT", repeat=True),
            ENV,
            Flag("otel-endpoint", "OTLP endpoint for traces", metavar="URL"),
            Flag("autonomous", "run by itself towards this goal", metavar="GOAL"),
            seconds("auto-interval", "pause between iterations", 3600),
            seconds("auto-max-iter-runtime", "longest one iteration may take (0 = no limit)", 86400),
            Flag("task-max-iterations", "iterations of one A2A task (0 = no limit)", takes=Takes.INTEGER,
                 metavar="COUNT", minimum=0, maximum=1000),
            seconds("task-max-runtime", "longest one A2A task may take", 86400),
            Flag("task-max-tool-calls", "tool calls of one A2A task", takes=Takes.INTEGER, metavar="COUNT",
                 minimum=0, maximum=10000),
            WAIT, WAIT_TIMEOUT, DRY_RUN,
        ),
    ),
    *common("agent", "Agent", Names.AGENTS, "kaos_ext.commands.agent"),
    Verb(
        ("agent", "status"), "the agent's card, and how its loop is doing", "kaos_ext.commands.agent:status",
        "kaos agent status monitor --json", arguments=(AGENT_NAME,), flags=(TIMEOUT, PORT),
    ),
    Verb(
        ("agent", "memory"), "what the agent remembers: its events", "kaos_ext.commands.agent:memory",
        "kaos agent memory monitor --json", arguments=(AGENT_NAME,),
        flags=(
            SESSION,
            Flag("limit", "the newest so many", takes=Takes.INTEGER, metavar="COUNT", minimum=1, maximum=1000,
                 default=100),
            Flag("since", "the oldest so many from this time (2026-01-31T12:00:00Z), or after this seq, on",
                 metavar="PLACE"),
            Flag("until", "only those up to this time or seq", metavar="PLACE"),
            Flag("type", "only this type of event, also of those that are not shown otherwise", metavar="TYPE",
                 repeat=True),
            Flag("order", "which come first", choices=("asc", "desc")),
            TIMEOUT, PORT,
        ),
    ),
    Verb(
        ("agent", "invoke"), "talk to the agent", "kaos_ext.commands.agent:invoke",
        'kaos agent invoke monitor -m "What did you find?" --stream', arguments=(AGENT_NAME,), body="message",
        streams=True,
        flags=(
            Flag("message", "what to say", short="m", metavar="TEXT", required=True),
            Flag("stream", "print the answer as it comes", short="s", takes=Takes.NOTHING),
            Flag("session", "the conversation to go on with", metavar="ID"),
            TIMEOUT, PORT,
        ),
    ),
    Verb(
        ("agent", "watch"), "follow iterations, steps and memory events as they happen",
        "kaos_ext.commands.agent:watch", "kaos agent watch monitor", arguments=(AGENT_NAME,), streams=True,
        flags=(
            Flag("iterations", "stop after so many finished iterations", takes=Takes.INTEGER, metavar="COUNT",
                 minimum=1),
            Flag("timeout", "stop after this long", takes=Takes.SECONDS, metavar="SECONDS"),
        ),
    ),
    Verb(
        ("agent", "pause"), "hold the agent's loop at its next step", "kaos_ext.commands.steering:pause",
        "kaos agent pause monitor --after-iteration", arguments=(AGENT_NAME,), changes=True,
        flags=(Flag("after-iteration", "let the open iteration end first", takes=Takes.NOTHING),),
    ),
    Verb(
        ("agent", "resume"), "let a paused loop go on", "kaos_ext.commands.steering:resume",
        "kaos agent resume monitor", arguments=(AGENT_NAME,), changes=True,
    ),
    Verb(
        ("agent", "run-now"), "one iteration at once, without its pause, even while the loop is held",
        "kaos_ext.commands.steering:run_now", "kaos agent run-now monitor", arguments=(AGENT_NAME,), changes=True,
    ),
    Verb(
        ("agent", "goal"), "give the agent's loop another goal, from its next step on",
        "kaos_ext.commands.steering:goal", 'kaos agent goal monitor --text "Watch the disk as well"',
        arguments=(AGENT_NAME,), body="text", changes=True,
        flags=(Flag("text", "the new goal", short="t", metavar="GOAL", required=True),),
    ),
    Verb(
        ("agent", "approvals"), "the tool calls that wait for a person", "kaos_ext.commands.approving:approvals",
        "kaos agent approvals monitor", arguments=(AGENT_NAME,), flags=(TIMEOUT, PORT),
    ),
    *(
        Verb(
            ("agent", word), text, f"kaos_ext.commands.approving:{word}", f"kaos agent {word} monitor",
            arguments=(AGENT_NAME,), changes=True,
            flags=(
                Flag("call", "which call, where several wait", metavar="ID"),
                Flag("run", "the task or run it belongs to, where ids are alike", metavar="RUN"),
                Flag("reason", "what the record says, and the model if it is declined", metavar="TEXT"),
                TIMEOUT, PORT,
            ),
        )
        for word, text in (
            ("approve", "let a tool call be made that waits for a person"),
            ("decline", "refuse a tool call that waits for a person"),
        )
    ),
    Verb(
        ("agent", "wait"), "wait until the agent is ready, or has finished iterations",
        "kaos_ext.commands.agent:wait", "kaos agent wait monitor --iterations 2", arguments=(AGENT_NAME,),
        flags=(
            Flag("iterations", "until its loop has finished this many", takes=Takes.INTEGER, metavar="COUNT",
                 minimum=1),
            WAIT_TIMEOUT,
        ),
    ),
    Verb(
        ("agent", "replay"), "run a recorded iteration again with the recorded answers, without a network, and compare",
        "kaos_ext.commands.replaying:replay", "kaos agent replay monitor --iteration 7", arguments=(AGENT_NAME,),
        flags=(
            Flag("iteration", "which one (default: the last that has ended)", takes=Takes.INTEGER, metavar="N",
                 minimum=1),
            Flag("save", "keep the recording, as a test's file", metavar="FILE", completes=Names.FILES),
            Flag("file", "a recording that was kept, instead of asking the agent", metavar="FILE",
                 completes=Names.FILES),
            Flag("instructions", "as if the agent had had these", metavar="TEXT"),
            TIMEOUT, PORT,
        ),
    ),
    Verb(
        ("agent", "tools"), "the tools the agent can call", "kaos_ext.commands.agent:tools",
        "kaos agent tools monitor", arguments=(AGENT_NAME,), flags=(TIMEOUT, PORT),
    ),
    Verb(
        ("agent", "a2a", "send"), "give the agent a task and get its result", "kaos_ext.commands.a2a:send",
        'kaos agent a2a send monitor --message "Summarise the cluster" --json', arguments=(AGENT_NAME,),
        body="message",
        flags=(
            Flag("message", "the task", short="m", metavar="TEXT", required=True),
            Flag("async", "answer at once, work in the background", takes=Takes.NOTHING),
            SESSION, TIMEOUT, PORT,
        ),
    ),
    *(
        Verb(
            ("agent", "a2a", word), text, f"kaos_ext.commands.a2a:{word}", f"kaos agent a2a {word} monitor -t task_1",
            arguments=(AGENT_NAME,),
            flags=(Flag("task-id", "the task", short="t", metavar="ID", required=True), TIMEOUT, PORT),
        )
        for word, text in (("get", "the state of a task"), ("cancel", "stop a task"))
    ),
    Verb(
        ("agent", "a2a", "list"), "the agent's tasks, newest first", "kaos_ext.commands.a2a:list_tasks",
        "kaos agent a2a list monitor", arguments=(AGENT_NAME,), flags=(TIMEOUT, PORT),
    ),
)  # fmt: skip
