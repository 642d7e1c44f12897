"""Whether a query parses with Elastic's own grammar.

The PyPI package esql-parser (9.1, Elastic License 2.0: used in tests only) is generated from it, so what parses there
runs on every supported version.
"""

import pytest


def syntax_errors(query: str) -> list[str]:
    """What Elastic's grammar says of a query; nothing when it parses."""
    antlr4 = pytest.importorskip("antlr4", reason="esql-parser is not installed (pip install esql-parser)")
    from antlr4.error.ErrorListener import ErrorListener
    from esql_parser.EsqlBaseLexer import EsqlBaseLexer
    from esql_parser.EsqlBaseParser import EsqlBaseParser

    found: list[str] = []

    class Listener(ErrorListener):
        def syntaxError(self, _recognizer, _symbol, line, column, message, _error):  # noqa: N802  ANTLR's name
            found.append(f"line {line}:{column + 1}: {message}")

    def listening(part):  # type: ignore[no-untyped-def]
        part.removeErrorListeners()
        part.addErrorListener(Listener())
        return part

    lexer = listening(EsqlBaseLexer(antlr4.InputStream(query)))
    listening(EsqlBaseParser(antlr4.CommonTokenStream(lexer))).singleStatement()
    return found
