"""The grammar of the Painless subset, and the words that are Painless but outside it.

A construct that real Painless has and the subset has not must be recognised as such (501), not reported as a syntax
error: `UNSUPPORTED` matches what stands where the parser gave up, `UNSUPPORTED_PAIRS` what stands there or began one
character earlier.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lark import Lark

KEYWORDS: Final = "if|else|in|for|while|do|continue|break|return|new|try|catch|throw|this|instanceof|true|false|null"
TYPES: Final = (
    "def|boolean|int|long|float|double|byte|short|char|void|String|Object|List|ArrayList|Map|HashMap|LinkedHashMap|"
    "Integer|Long|Double|Float|Boolean|Number|Collection|Iterable|Set|HashSet|Date|ZonedDateTime|Instant|"
    "ZoneId|ZoneOffset|DayOfWeek|Month|TextStyle|Locale|ChronoUnit"
)
UNSUPPORTED: Final = re.compile(r"while\b|do\b|try\b|catch\b|throw\b|this\b|\$|\^|~|&(?!&)|\|(?!\|)|/[^/\s]")
UNSUPPORTED_PAIRS: Final = re.compile(r"->|::|>>>|>>|<<|=~")

# Only the last statement of a script or a block may stand without its semicolon: `ctx.a == 1`.
GRAMMAR: Final = r"""
start: statement* [last]
?last: simple | "return" -> return_nothing

?statement: block
    | "if" "(" expression ")" statement ["else" statement]                       -> if_else
    | "for" "(" [TYPE] NAME ("in" | ":") expression ")" statement               -> for_each
    | "for" "(" [for_init] ";" [expression] ";" [for_step] ")" statement         -> for_loop
    | simple ";"
    | "return" ";"                                                              -> return_nothing
    | ";"                                                                       -> nothing
?simple: declaration
    | expression                                                                -> run
    | "return" expression                                                       -> return_value
    | "break"                                                                   -> break_loop
    | "continue"                                                                -> continue_loop
block: "{" statement* [last] "}"

declaration: TYPE declarator ("," declarator)*
declarator: NAME ["=" expression]
?for_init: declaration | expression -> run
?for_step: expression -> run

?expression: assignment | elvis_or_ternary
assignment: target ASSIGN expression
?elvis_or_ternary: elvis
    | elvis "?" expression ":" expression                                       -> ternary
?elvis: either
    | either "?:" elvis                                                         -> elvis
?either: both
    | either "||" both                                                          -> either
?both: equality
    | both "&&" equality                                                        -> both
?equality: relation
    | equality EQUALITY relation                                                -> equality
?relation: sum
    | relation RELATION sum                                                     -> relation
    | relation "instanceof" TYPE                                                -> instance_of
?sum: product
    | sum SIGN product                                                          -> arithmetic
?product: unary
    | product FACTOR unary                                                      -> arithmetic
?unary: postfix
    | "!" unary                                                                 -> negation
    | SIGN unary                                                                -> signed
    | "(" TYPE ")" unary                                                        -> cast
    | STEP target                                                               -> step_before
?postfix: access
    | target STEP                                                               -> step_after
?target: access

?access: primary
    | access DOT MEMBER                                                         -> field
    | access DOT MEMBER "(" [arguments] ")"                                     -> method
    | access DOT INTEGER                                                        -> element
    | access "[" expression "]"                                                 -> index
    | TYPE "." MEMBER "(" [arguments] ")"                                       -> static_method
    | TYPE "." MEMBER                                                           -> static_field
arguments: expression ("," expression)*

?primary: "(" expression ")"
    | INTEGER                                                                   -> integer
    | DECIMAL                                                                   -> decimal
    | STRING                                                                    -> string
    | "true"                                                                    -> true
    | "false"                                                                   -> false
    | "null"                                                                    -> null
    | NAME                                                                      -> variable
    | NAME "(" [arguments] ")"                                                  -> function
    | "[" "]"                                                                   -> list
    | "[" ":" "]"                                                               -> map
    | "[" expression ("," expression)* "]"                                      -> list
    | "[" entry ("," entry)* "]"                                                -> map
    | "new" TYPE "(" [arguments] ")"                                            -> new
entry: expression ":" expression

ASSIGN: "=" | "+=" | "-=" | "*=" | "/=" | "%="
EQUALITY: "===" | "!==" | "==" | "!="
RELATION: "<=" | ">=" | "<" | ">"
STEP: "++" | "--"
SIGN: "+" | "-"
FACTOR: "*" | "/" | "%"
DOT: "?." | "."
"""


@cache
def parser() -> Lark:
    """The LALR parser, built on first use: most starts of the sandbox never see a script."""
    from lark import Lark

    terminals = rf"""
TYPE.3: /(?:{TYPES})\b/
MEMBER: /[A-Za-z_]\w*/
NAME: /(?!(?:{KEYWORDS})\b)[A-Za-z_]\w*/
DECIMAL.2: /(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)[dDfF]?|\d+[dDfF]/
INTEGER: /(?:0[xX][0-9a-fA-F]+|\d+)[lL]?/
STRING: /"(?:\\["\\]|[^"\\])*"|'(?:\\['\\]|[^'\\])*'/
COMMENT: /\/\/[^\n]*|\/\*.*?\*\//s
%import common.WS
%ignore WS
%ignore COMMENT
"""
    return Lark(GRAMMAR + terminals, parser="lalr", propagate_positions=True, maybe_placeholders=True)
