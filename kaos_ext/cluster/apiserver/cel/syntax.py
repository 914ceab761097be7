"""CEL's grammar: text into a tree, and the tree back into text."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
      | (?P<int>0[xX][0-9a-fA-F]+[uU]?|\d+[uU]?)
      | (?P<string>[rRbB]{0,2}(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''
            |"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
      | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
      | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_RELATIONS = ("==", "!=", "<=", ">=", "<", ">", "in")


class CelSyntaxError(Exception):
    """`position` counts characters of the text from zero."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class Node:
    position: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    text: str
    kind: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Name(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Select(Node):
    operand: Node
    field: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Index(Node):
    operand: Node
    key: Node
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`target.function(arguments)`, `function(arguments)`, and operators (their sign is the function)."""

    function: str
    target: Node | None
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf(Node):
    entries: tuple[tuple[Node, Node], ...]


def parse(text: str) -> Node:
    """The tree of an expression; CelSyntaxError when it is none."""
    parser = _Parser(text)
    node = parser.expression()
    if parser.sign:
        raise CelSyntaxError(f"Syntax error: extraneous input '{parser.sign}' expecting <EOF>", parser.position)
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise CelSyntaxError(f"Syntax error: token recognition error at: '{text[at]}'", at)
            if found.lastgroup and found.lastgroup != "space":
                self._tokens.append((found.lastgroup, found[0], at))
            at = found.end()
        self._tokens.append(("end", "", len(text)))
        self._at = 0

    @property
    def kind(self) -> str:
        return self._tokens[self._at][0]

    @property
    def sign(self) -> str:
        return self._tokens[self._at][1]

    @property
    def position(self) -> int:
        return self._tokens[self._at][2]

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _take(self, *signs: str) -> str:
        return self._next() if self.kind in ("sign", "name") and self.sign in signs else ""

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            shown = self.sign or "<EOF>"
            raise CelSyntaxError(f"Syntax error: mismatched input '{shown}' expecting '{sign}'", self.position)

    def expression(self) -> Node:
        condition = self._binary(0)
        position = self.position
        if not self._take("?"):
            return condition
        yes = self._binary(0)
        self._need(":")
        return Call(position, "?:", None, (condition, yes, self.expression()))

    _LEVELS = (("||",), ("&&",), _RELATIONS, ("+", "-"), ("*", "/", "%"))

    def _binary(self, level: int) -> Node:
        if level == len(self._LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while True:
            position = self.position
            sign = self._take(*self._LEVELS[level])
            if not sign:
                return left
            left = Call(position, sign, None, (left, self._binary(level + 1)))

    def _unary(self) -> Node:
        position = self.position
        sign = self._take("!", "-")
        if sign:
            return Call(position, f"{sign}_", None, (self._unary(),))
        return self._member()

    def _member(self) -> Node:
        node = self._primary()
        while True:
            position = self.position
            if self._take("."):
                optional = bool(self._take("?"))
                if self.kind != "name":
                    raise CelSyntaxError(f"Syntax error: no viable alternative at input '.{self.sign}'", self.position)
                name = self._next()
                if not optional and self._take("("):
                    node = Call(position, name, node, self._arguments(")"))
                else:
                    node = Select(position, node, name, optional)
            elif self._take("["):
                optional = bool(self._take("?"))
                key = self.expression()
                self._need("]")
                node = Index(position, node, key, optional)
            else:
                return node

    def _arguments(self, end: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self._take(end):
            found.append(self.expression())
            if not self._take(","):
                self._need(end)
                break
        return tuple(found)

    def _primary(self) -> Node:
        kind, text, position = self._tokens[self._at]
        if kind in ("int", "float", "string"):
            self._next()
            return Literal(position, text, _literal_kind(kind, text), len(text))
        if kind == "name" and text not in _RELATIONS:
            self._next()
            if text in ("true", "false", "null"):
                return Literal(position, text, "null" if text == "null" else "bool")
            if self._take("("):
                return Call(position, text, None, self._arguments(")"))
            return Name(position, text)
        if self._take("("):
            node = self.expression()
            self._need(")")
            return node
        if self._take("["):
            return ListOf(position, self._arguments("]"))
        if self._take("{"):
            return self._map(position)
        shown = text or "<EOF>"
        raise CelSyntaxError(
            f"Syntax error: mismatched input '{shown}' expecting {{'[', '{{', '(', '.', '-', '!', 'true', 'false', "
            "'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
            position,
        )

    def _map(self, position: int) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self._take("}"):
            key = self.expression()
            self._need(":")
            entries.append((key, self.expression()))
            if not self._take(","):
                self._need("}")
                break
        return MapOf(position, tuple(entries))


def _literal_kind(kind: str, text: str) -> str:
    if kind == "string":
        return "bytes" if "b" in re.split("['\"]", text)[0].lower() else "string"
    if kind == "float":
        return "double"
    return "uint" if text[-1] in "uU" else "int"


def string_value(node: Node) -> str | None:
    """The text of a plain string literal."""
    if not isinstance(node, Literal) or node.kind != "string":
        return None
    try:
        value = ast.literal_eval(node.text)
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, str) else None


def written(node: Node) -> str:
    """The text of a tree, in the evaluator's spelling: what it has no word for is a function of ours."""
    match node:
        case Literal(text=text):
            return text
        case Name(name=name):
            return name
        case Select(operand=operand, field=field, optional=optional):
            if optional:
                return f'optionalField({written(operand)}, "{field}")'
            return f"{written(operand)}.{field}"
        case Index(operand=operand, key=key, optional=optional):
            if optional:
                return f"optionalField({written(operand)}, {written(key)})"
            return f"{written(operand)}[{written(key)}]"
        case ListOf(items=items):
            return "[" + ", ".join(map(written, items)) + "]"
        case MapOf(entries=entries):
            return "{" + ", ".join(f"{written(key)}: {written(value)}" for key, value in entries) + "}"
        case Call():
            return _written_call(node)
    raise AssertionError(node)


_RENAMED = {"size": "sizeOf", "matches": "matchesPattern"}
"""Functions the evaluator has, and counts otherwise than Kubernetes does."""


_OF_TWO = {"all": "all", "exists": "exists", "existsOne": "exists_one", "transformList": "map"}


def _of_two(target: str, function: str, key: str, value: str, body: str) -> str:
    """A macro over keys and values, as one over keys with one over the one value inside."""
    plain = _OF_TWO[function]
    if plain == "map":
        return f"keysOf({target}).map({key}, [{target}[{key}]].map({value}, {body})[0])"
    return f"keysOf({target}).{plain}({key}, [{target}[{key}]].all({value}, {body}))"


def _written_call(node: Call) -> str:
    arguments = [written(one) for one in node.arguments]
    if node.function == "?:":
        return f"({arguments[0]} ? {arguments[1]} : {arguments[2]})"
    if node.function in ("!_", "-_"):
        return f"({node.function[0]}{arguments[0]})"
    if node.function == "in" or (node.target is None and len(arguments) == 2 and not node.function[0].isalpha()):
        return f"({arguments[0]} {node.function} {arguments[1]})"
    function = _RENAMED.get(node.function, node.function)
    if node.target is None:
        return f"{function}({', '.join(arguments)})"
    if isinstance(node.target, Name) and node.target.name == "cel" and function == "bind":
        return f"[{arguments[1]}].map({arguments[0]}, {arguments[2]})[0]"
    if isinstance(node.target, Name) and node.target.name == "sets":
        return f"sets{function.capitalize()}({', '.join(arguments)})"
    if function == "optMap":
        target = written(node.target)
        made = f"[{target}.value()].map({', '.join(arguments)})[0]"
        return f"({target}.hasValue() ? optional.of({made}) : optional.none())"
    if len(arguments) == 3 and function in _OF_TWO:
        return _of_two(written(node.target), function, *arguments)
    return f"{written(node.target)}.{function}({', '.join(arguments)})"
