"""ES|QL over the document tables: a query is parsed, typed, compiled to one DuckDB statement and run.

``parser`` makes commands (``tree``); ``commands`` and ``stats`` compile them over ``scope``'s rows, ``expressions``
and ``functions`` what is inside them; ``source`` writes the SELECT over the indices; ``answer`` shows the rows.
"""

from elastic_sandbox.esql.answer import Result
from elastic_sandbox.esql.service import Esql

__all__ = ["Esql", "Result"]
