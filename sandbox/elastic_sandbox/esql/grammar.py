"""The grammar of the ES|QL subset, written from the language's public documentation.

Terminals depend on what may follow (a source pattern after FROM, a name pattern after KEEP, an expression after
WHERE), which lark's contextual lexer gives for free. Words that are reserved inside expressions must not be read as
names even where no keyword can follow, since the server would refuse them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lark import Lark

RESERVED: Final = "and|or|not|in|is|like|rlike|null|true|false|asc|desc|nulls|first|last|by"

COMMANDS: Final = (
    "FROM", "ROW", "WHERE", "EVAL", "STATS", "SORT", "LIMIT", "KEEP", "DROP", "RENAME", "MV_EXPAND", "LOOKUP JOIN",
)  # fmt: skip

OTHER_COMMANDS: Final = frozenset({
    "change_point", "completion", "dissect", "enrich", "explain", "fork", "fuse", "grok", "inline", "inlinestats",
    "insist_🐔", "mmr", "promql", "registered_domain", "rerank", "rrf", "sample", "set", "show", "ts", "uri_parts",
    "url_parts", "user_agent",
})  # fmt: skip
"""Commands Elasticsearch has and the sandbox has not."""

GRAMMAR: Final = r"""
start: source ("|" command)*
?source: FROM sources [METADATA QNAME ("," QNAME)*]                 -> from_
    | ROW fields                                                   -> row
sources: source_name ("," source_name)*
source_name: SOURCE | STRING
?command: WHERE expression                                         -> where
    | EVAL fields                                                  -> eval
    | STATS [aggregates] [BY fields]                               -> stats
    | SORT sort_key ("," sort_key)*                                -> sort
    | LIMIT (INTEGER | PARAMETER | DECIMAL | STRING)               -> limit
    | KEEP patterns                                                -> keep
    | DROP patterns                                                -> drop
    | RENAME renaming ("," renaming)*                              -> rename
    | MV_EXPAND name                                               -> mv_expand
    | LOOKUP JOIN source_name [AS SOURCE] ON name ("," name)*      -> lookup_join
fields: field ("," field)*
field: [(QNAME | PARAMETER) "="] expression
aggregates: aggregate ("," aggregate)*
aggregate: [(QNAME | PARAMETER) "="] expression [WHERE expression]
sort_key: expression [ASC | DESC] [NULLS (FIRST | LAST)]
patterns: pattern ("," pattern)*
pattern: PATTERN | PARAMETER
renaming: pattern AS pattern | pattern "=" pattern                 -> renaming_reversed
name: QNAME | PARAMETER

?expression: conjunction
    | expression OR conjunction                                    -> or_
?conjunction: negation
    | conjunction AND negation                                     -> and_
?negation: predicate
    | NOT negation                                                 -> not_
?predicate: comparison
    | comparison [NOT] IN "(" comparison ("," comparison)* ")"     -> in_
    | comparison IS [NOT] NULL                                     -> null_check
    | comparison [NOT] (LIKE | RLIKE) (text | "(" text ("," text)* ")") -> like
    | QNAME ":" constant                                           -> match
?text: STRING                                                      -> string
    | PARAMETER                                                    -> parameter
?comparison: sum
    | sum COMPARE sum                                              -> compare
?sum: product
    | sum (PLUS | MINUS) product                                   -> arithmetic
?product: unary
    | product (STAR | SLASH | PERCENT) unary                       -> arithmetic
?unary: primary
    | (PLUS | MINUS) unary                                         -> unary
?primary: constant
    | QNAME                                                        -> column
    | (QNAME | PARAMETER) "(" [arguments] ")"                      -> call
    | "(" expression ")"                                           -> inner
    | primary "::" QNAME                                           -> cast
arguments: STAR | expression ("," expression)* ["," options]
options: "{" [option ("," option)*] "}"
option: STRING ":" constant
?constant: NULL                                                    -> null
    | INTEGER QNAME                                                -> span
    | INTEGER                                                      -> integer
    | DECIMAL                                                      -> decimal
    | (TRUE | FALSE)                                               -> boolean
    | STRING                                                       -> string
    | PARAMETER                                                    -> parameter
    | "[" item ("," item)* "]"                                     -> list
item: [PLUS | MINUS] (INTEGER | DECIMAL) | STRING | TRUE | FALSE

COMPARE: "==" | "!=" | "<=" | ">=" | "<" | ">"
PLUS: "+"
MINUS: "-"
STAR: "*"
SLASH: "/"
PERCENT: "%"
PARAMETER: /\?\??(?:[A-Za-z_][A-Za-z0-9_]*|\d+)?/
DECIMAL.2: /\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+/
INTEGER: /\d+/
STRING: /\"{3}[^\r\n]*?\"{3}\"{0,2}|"(?:\\[tnr"\\]|[^\r\n"\\])*"/
SOURCE: /(?:[^\s|,"=\[\]\/()]|\/(?![*\/]))+/
COMMENT: /\/\/[^\r\n]*|\/\*.*?\*\//s
%ignore /[ \t\r\n]+/
%ignore COMMENT
"""
_PART: Final = r"(?:[A-Za-z][A-Za-z0-9_]*|[_@][A-Za-z0-9_]+|`(?:[^`]|``)+`)"
_KEYWORDS: Final = [
    "FROM", "METADATA", "ROW", "WHERE", "EVAL", "STATS", "BY", "SORT", "LIMIT", "KEEP", "DROP", "RENAME",
    "MV_EXPAND", "LOOKUP", "JOIN", "AS", "ON", "AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "RLIKE", "TRUE",
    "FALSE", "ASC", "DESC", "NULLS", "FIRST", "LAST",
]  # fmt: skip


@cache
def parser() -> Lark:
    """The LALR parser, built on first use: most starts of the sandbox never see a query."""
    from lark import Lark

    quoted = "`(?:[^`]|``)+`"
    letters = rf"(?:[A-Za-z0-9_@*]+|{quoted})"
    terminals = [rf"PATTERN: /(?:[A-Za-z_@*][A-Za-z0-9_@*]*|{quoted})(?:\.?{letters})*/"]
    terminals += [rf"QNAME: /(?!(?i:{RESERVED})(?![A-Za-z0-9_])){_PART}(?:\.{_PART})*/"]
    terminals += [rf"{word}.3: /{word}(?![A-Za-z0-9_])/i" for word in _KEYWORDS]
    return Lark(GRAMMAR + "\n".join(terminals) + "\n", parser="lalr", propagate_positions=True, maybe_placeholders=True)
