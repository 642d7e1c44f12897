"""What ES|QL refuses: type, words, line and column, as Elastic's VerifierTests, AnalyzerTests and REST tests have them."""

# ruff: noqa: E501  a case stays on its line

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from harness.esql import syntax_errors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox.esql_world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    fields = {"name": "keyword", "age": "integer", "pay": "long", "rate": "double", "hired": "date", "ok": "boolean",
              "ip": "ip", "big": "unsigned_long", "attributes": "flattened", "place": "geo_point", "bio": "text"}  # fmt: skip
    made.index("staff", fields, [{"name": "x", "age": 1}])
    made.index("ids", {"name": "keyword", "n": "long"}, [], **{"index.mode": "lookup"})
    for number, kind in enumerate(["ip", "ip", "ip", "ip", "ip", "keyword", "long"]):
        made.index(f"mixed-{number}", {"host": kind, "same": "long"}, [{"same": number}])
    yield made
    made.backend.close()


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        # names
        ("FROM staff | WHERE agee > 1", "1:20: Unknown column [agee], did you mean [age]?"),
        ("FROM staff | KEEP zzz", "1:19: Unknown column [zzz]"),
        ("FROM staff\n| SORT zzz", "2:8: Unknown column [zzz]"),
        ("FROM staff | RENAME zzz AS b", "1:21: Unknown column [zzz]"),
        ("FROM staff | DROP zz*", "1:19: No matches found for pattern [zz*]"),
        ("FROM staff | MV_EXPAND zzz", "1:24: Unknown column [zzz]"),
        ("ROW zzz", "1:5: Unknown column [zzz]"),
        ("FROM staff | EVAL x = zzzzz(age)", "1:23: Unknown function [zzzzz]"),
        ("FROM staff | EVAL x = substringg(name, 1)", "1:23: Unknown function [substringg], did you mean any of [substring, to_string]?"),
        ("FROM staff | RENAME age AS a, age AS b", "1:31: Column [age] renamed to [a] and is no longer available [age AS b]"),
        # types
        ('FROM staff | WHERE age == "foo"',
         '1:20: first argument of [age == "foo"] is [numeric] so second argument must also be [numeric] but was [keyword]'),
        ("FROM staff | WHERE name > 1", "1:20: first argument of [name > 1] is [keyword] so second argument must also be [keyword] but was [integer]"),
        ("FROM staff | WHERE hired == 1", "1:20: first argument of [hired == 1] is [datetime] so second argument must also be [datetime] but was [integer]"),
        ("FROM staff | WHERE big == age",
         "1:20: first argument of [big == age] is [unsigned_long] and second is [integer]. [unsigned_long] can only be operated on "
         "together with another [unsigned_long]"),
        ('FROM staff | WHERE hired > "soon"',
         "1:28: Cannot convert string [soon] to [DATETIME], error [failed to parse date field [soon] with format [strict_date_optional_time]]"),
        ("FROM staff | EVAL y = age + name",
         "1:23: second argument of [age + name] must be [date_nanos, datetime or numeric], found value [name] type [keyword]"),
        ("FROM staff | EVAL y = name * 2", "1:23: first argument of [name * 2] must be [numeric], found value [name] type [keyword]"),
        ("FROM staff | EVAL y = big + age", "1:23: [+] has arguments with incompatible types [unsigned_long] and [integer]"),
        ("FROM staff | EVAL y = hired + 1", "1:23: [+] has arguments with incompatible types [datetime] and [integer]"),
        ("ROW 1 day - NOW()", "1:5: [-] arguments are in unsupported order: cannot subtract a [DATETIME] value [NOW()] from a [DATE_PERIOD] "
         "amount [1 day]"),
        ("FROM staff | EVAL y = -name", "1:23: argument of [-name] must be [numeric, date_period or time_duration], found value [name] type [keyword]"),
        ("FROM staff | EVAL y = ROUND(name, 1)", "1:23: first argument of [ROUND(name, 1)] must be [numeric], found value [name] type [keyword]"),
        ("FROM staff | EVAL y = ROUND(rate, 3.5)",
         "1:23: second argument of [ROUND(rate, 3.5)] must be [whole number except unsigned_long or counter types], found value [3.5] type [double]"),
        ("FROM staff | EVAL y = LENGTH(age)", "1:23: argument of [LENGTH(age)] must be [string], found value [age] type [integer]"),
        ("FROM staff | EVAL y = name AND ok", "1:23: first argument of [name AND ok] must be [boolean], found value [name] type [keyword]"),
        ('FROM staff | WHERE age IN (1, "two")', '1:20: 2nd argument of [age IN (1, "two")] must be [integer], found value ["two"] type [keyword]'),
        ("ROW false::ip", "1:5: argument of [false::ip] must be [ip or string], found value [false] type [boolean]"),
        ("FROM staff | WHERE age", "1:20: Condition expression needs to be boolean, found [INTEGER]"),
        ('FROM staff | WHERE CONCAT(name, "x")', "1:20: Condition expression needs to be boolean, found [KEYWORD]"),
        ("FROM staff | EVAL y = 1 hour", "1:23: EVAL does not support type [time_duration] as the return data type of expression [1 hour]"),
        ("ROW a = 1 day", "1:9: cannot use [1 day] directly in a row assignment"),
        ("FROM staff | SORT place", "1:19: cannot sort on geo_point"),
        ("FROM staff | EVAL x = attributes", "1:23: Cannot use field [attributes] with unsupported type [flattened]"),
        ("FROM mixed-* | EVAL x = host",
         "1:25: Cannot use field [host] due to ambiguities being mapped as [3] incompatible types: [ip] in [mixed-0, mixed-1, mixed-2] and [2] "
         "other indices, [keyword] in [mixed-5], [long] in [mixed-6]"),
        ("FROM mixed-4, mixed-6 | STATS COUNT(*) BY host",
         "1:43: Cannot use field [host] due to ambiguities being mapped as [2] incompatible types: [ip] in [mixed-4], [long] in [mixed-6]"),
        ("FROM mixed-4, mixed-6 | EVAL x = TO_IP(host)",
         "1:40: Cannot use field [host] due to ambiguities being mapped as [2] incompatible types: [ip] in [mixed-4], [long] in [mixed-6]"),
        # STATS
        ("FROM staff | EVAL x = MAX(age)", "1:23: aggregate function [MAX(age)] not allowed outside STATS command"),
        ("FROM staff | STATS MAX(MAX(age))", "1:24: nested aggregations [MAX(age)] not allowed inside other aggregations [MAX(MAX(age))]"),
        ("FROM staff | STATS x = AVG(age), pay BY name", "1:34: column [pay] must appear in the STATS BY clause or be used in an aggregate function"),
        ("FROM staff | STATS 5 BY name", "1:20: expected an aggregate function but found [5]"),
        ("FROM staff | STATS age BY age", "1:20: grouping key [age] already specified in the STATS BY clause"),
        ("FROM staff | STATS e BY e = age + pay", "1:20: grouping key [e] already specified in the STATS BY clause"),
        ("FROM staff | STATS MAX(pay) + age BY l = age % 3",
         "1:31: column [age] cannot be used as an aggregate once declared in the STATS BY grouping key [l = age % 3]"),
        ("FROM staff | STATS MAX(age) BY MAX(age)", "1:32: cannot use an aggregate [MAX(age)] for grouping"),
        ("FROM staff | STATS age + 1 WHERE age > 1 BY pay",
         "1:20: WHERE clause allowed only for aggregate functions, none found in [age + 1 WHERE age > 1]"),
        ("FROM staff | STATS MAX(age) WHERE MAX(pay) > 1 BY name",
         "1:35: cannot use aggregate function [MAX(pay)] in aggregate WHERE clause [MAX(age) WHERE MAX(pay) > 1]"),
        ("FROM staff | STATS COUNT(*) WHERE 1", "1:35: Condition expression needs to be boolean, found [INTEGER]"),
        ("FROM staff | STATS SUM(hired)",
         "1:20: argument of [SUM(hired)] must be [aggregate_metric_double or numeric except unsigned_long or counter types], found value [hired] "
         "type [datetime]"),
        ("FROM staff | STATS PERCENTILE(age, age)", "1:20: second argument of [PERCENTILE(age, age)] must be a constant, received [age]"),
        ("FROM staff | STATS BUCKET(age, 5.) BY pay", "1:20: can only use grouping function [BUCKET(age, 5.)] as part of the BY clause"),
        ("FROM staff | STATS BUCKET(age, 5.) BY x = BUCKET(age, 5.)",
         "1:20: grouping function [BUCKET(age, 5.)] cannot be used as an aggregate once declared in the STATS BY clause"),
        ("FROM staff | STATS BY BUCKET(BUCKET(age, 5.), 6.)", "1:30: cannot nest grouping functions; found [BUCKET(age, 5.)] inside "
         "[BUCKET(BUCKET(age, 5.), 6.)]"),
        ("FROM staff | WHERE BUCKET(age, 5.) > 1", "1:20: cannot use grouping function [BUCKET(age, 5.)] outside of a STATS command"),
        ('FROM staff | STATS BY BUCKET(hired, 5, "2000-01-01")',
         "1:23: function expects exactly four arguments when the first one is of type [DATETIME] and the second of type [INTEGER]"),
        ("FROM staff | STATS BY BUCKET(hired, 5.5)",
         "1:23: second argument of [BUCKET(hired, 5.5)] must be [integral, date_period or time_duration], found value [5.5] type [double]"),
        # match
        ('FROM staff | EVAL x = name:"a"', "1:23: [:] operator is only supported in WHERE and STATS commands"),
        ('FROM staff | LIMIT 5 | WHERE name:"a"', "1:30: [:] operator cannot be used after LIMIT"),
        ('FROM staff | EVAL b = CONCAT(name, "x") | WHERE b:"a"', "1:49: [:] operator cannot operate on [b], which is not a field from an index mapping"),
        # sources
        ("FROM nowhere", "1:1: Unknown index [nowhere]"),
        ("FROM nowhere*, here", "1:1: Unknown index [nowhere*,here]"),
        ("FROM staff | LOOKUP JOIN nowhere ON name", "1:26: Unknown index [nowhere]"),
        ("FROM staff | LOOKUP JOIN mixed-1 ON name", "1:26: Lookup Join requires a single lookup mode index; [mixed-1] resolves to [mixed-1] in "
         "[standard] mode"),
        ("FROM staff | LOOKUP JOIN ids ON age", "1:33: Unknown column [age] in right side of join, did you mean [name]?"),
        ("FROM staff | LOOKUP JOIN ids ON n", "1:33: Unknown column [n] in left side of join"),
        ("FROM staff | RENAME ip AS n | LOOKUP JOIN ids ON n",
         "1:50: JOIN left field [n] of type [IP] is incompatible with right field [n] of type [LONG]"),
    ],
)  # fmt: skip
def test_the_verifier_says_what_is_wrong_and_where(world: World, query: str, problem: str) -> None:
    assert syntax_errors(query) == []
    assert world.problem(query) == problem


def test_all_problems_are_told_at_once(world: World) -> None:
    assert world.refused("FROM staff | EVAL x = foo1 + 1, y = x | WHERE bar2 > x").reason == (
        "Found 2 problems\nline 1:23: Unknown column [foo1]\nline 1:47: Unknown column [bar2]"
    )


@pytest.mark.parametrize(
    ("query", "begins"),
    [
        ("", "line 1:1: mismatched input '<EOF>'"),
        ("frm staff", "line 1:1: mismatched input 'frm'"),
        ("FROM staff | filter age > 1", "line 1:14: mismatched input 'filter'"),
        ("FROM staff | WHERE age >", "line 1:25: mismatched input '<EOF>'"),
        ("FROM staff | WHERE by > 1", "line 1:20: mismatched input 'by'"),
        ('FROM staff | WHERE name == "x', "line 1:28: token recognition error at: '\"x'"),
        ("FROM staff\n| LIMIT -1", "line 2:9: mismatched input '-'"),
        ("FROM staff | WHERE age == 1 == 1", "line 1:29: mismatched input '=='"),
        ("FROM staff | STATS", "line 1:14: At least one aggregation or grouping expression required in [STATS]"),
        ("FROM staff | DROP *", "line 1:19: Removing all fields is not allowed [*]"),
        ("FROM staff | RENAME a* AS b", "line 1:21: Using wildcards [*] in RENAME is not allowed [a* AS b]"),
        ("FROM staff METADATA _nope", "line 1:21: unsupported metadata field [_nope]"),
        ("FROM staff | EVAL x = 1 fortnight", "line 1:23: Unexpected temporal unit: 'fortnight'"),
        ("FROM staff | EVAL x = age::thing", "line 1:23: Unknown data type named [thing]"),
        ("FROM staff | EVAL x = ABS(age, 1)", "line 1:23: error building [abs]: expects exactly one argument"),
        ("FROM staff | EVAL x = SUBSTRING(name)", "line 1:23: error building [substring]: expects two or three arguments"),
        ("FROM staff | EVAL x = ROUND()", "line 1:23: error building [round]: expects one or two arguments"),
        ("FROM staff | EVAL x = CONCAT(name)", "line 1:23: error building [concat]: expects at least two arguments"),
        ("FROM staff | LOOKUP JOIN id* ON name", "line 1:26: invalid index pattern [id*], * is not allowed in LOOKUP JOIN"),
    ],
)  # fmt: skip
def test_the_parser_says_where_it_stopped(world: World, query: str, begins: str) -> None:
    error = world.refused(query)
    assert (error.status, error.type) == (400, "parsing_exception")
    assert error.reason == begins


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("FROM staff | ENRICH policy", "command ENRICH"),
        ('FROM staff | DISSECT name "%{a}"', "command DISSECT"),
        ("FROM staff | CHANGE_POINT age", "command CHANGE_POINT"),
        ("FROM staff | INLINE STATS MAX(age)", "command INLINE"),
        ("SHOW INFO", "command SHOW"),
        ("TS staff | STATS COUNT(*)", "command TS"),
        ("FROM staff | STATS MEDIAN_ABSOLUTE_DEVIATION(age)", "function MEDIAN_ABSOLUTE_DEVIATION"),
        ("FROM staff | EVAL x = TO_VERSION(name)", "function TO_VERSION"),
        ('FROM staff | WHERE MATCH(bio, "x")', "function MATCH"),
        ('FROM staff | WHERE KQL("x")', "function KQL"),
        ("FROM staff METADATA _score", "METADATA _score"),
        ("FROM staff | EVAL x = name::version", "cast to version"),
        ("FROM staff | EVAL x = big + big", "unsigned_long"),
        ('FROM staff | WHERE name LIKE ("a*", "b*")', "LIKE with a list"),
        ('FROM staff | WHERE name RLIKE "a~b"', "operator [~]"),
        ('FROM staff | EVAL x = ABS("1")', "a text where"),
        ("FROM staff | STATS SUM(null)", "aggregation of null"),
        ("FROM remote:staff", "cross-cluster"),
        ("FROM staff | SORT age | MV_EXPAND name | WHERE age > 1", "SORT without LIMIT"),
    ],
)
def test_what_only_the_sandbox_lacks_is_named(world: World, query: str, names: str) -> None:
    error = world.refused(query)
    assert (error.status, error.type) == (501, "sandbox_unsupported")
    assert names in error.reason


def test_an_index_that_is_missing_beside_one_that_is_there_is_a_404(world: World) -> None:
    error = world.refused("FROM staff, nowhere")
    assert (error.status, error.type, error.reason) == (404, "index_not_found_exception", "no such index [nowhere]")
    assert world.rows("FROM staff, nowhere* | STATS COUNT(*)") == [[1]]


def test_a_field_of_several_types_is_null_until_it_is_converted(world: World) -> None:
    world.index("kinds-1", {"v": "long"}, [{"v": [1, 2]}, {"v": 3}])
    world.index("kinds-2", {"v": "keyword"}, [{"v": "4"}, {"v": "x"}])
    answer = world.ask("FROM kinds-* METADATA _index | SORT _index | KEEP v, _index | LIMIT 1")
    assert answer.columns[0] == {
        "name": "v", "type": "unsupported", "original_types": ["keyword", "long"], "suggested_cast": "keyword",
    }  # fmt: skip
    assert answer.values == [[None, "kinds-1"]]
    query = "FROM kinds-* | EVAL s = v::keyword, n = TO_LONG(v) | KEEP s, n | SORT s"
    assert world.rows(query) == [[["1", "2"], [1, 2]], ["3", 3], ["4", 4], ["x", None]]
    assert world.rows("FROM kinds-* | STATS n = COUNT(v::keyword) BY v::keyword | SORT `v::keyword` | LIMIT 1") == [
        [2, "1"]
    ]


def test_nesting_beyond_reason_is_refused(world: World) -> None:
    deep = "(" * 3000 + "1" + ")" * 3000
    error = world.refused(f"ROW x = {'ABS(' * 500}1{')' * 500}")
    assert (error.status, "maximum expression depth" in error.reason) == (400, True)
    assert world.refused(f"ROW x = {deep}").status == 400
    assert world.refused("ROW x = " + "1" * 1_000_001).status == 400


PIECES = [
    "FROM",
    "staff",
    "|",
    "WHERE",
    "age",
    ">",
    "1",
    "AND",
    "name",
    "IN",
    '("a",',
    '"b")',
    "|",
    "EVAL",
    "x",
    "=",
    "CASE(ok,",
    "rate",
    "*",
    "2,",
    "-pay),",
    "y",
    "=",
    "hired",
    "+",
    "1",
    "day,",
    "z",
    "=",
    "MV_SORT(name,",
    '"asc")',
    "|",
    "STATS",
    "n",
    "=",
    "COUNT(*)",
    "WHERE",
    "ok,",
    "MAX(x)",
    "BY",
    "name,",
    "b",
    "=",
    "BUCKET(hired,",
    "1",
    "hour)",
    "|",
    "SORT",
    "n",
    "DESC",
    "NULLS",
    "LAST",
    "|",
    "RENAME",
    "n",
    "AS",
    "m",
    "|",
    "KEEP",
    "m*,",
    "b",
    "|",
    "MV_EXPAND",
    "b",
    "|",
    "LOOKUP",
    "JOIN",
    "ids",
    "ON",
    "name",
    "|",
    "LIMIT",
    "5",
    "ip::string",
    "?x",
    "`",
    "[1,",
    "2]",
    "/*",
]


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12))
def test_a_broken_query_is_refused_and_never_a_crash(world: World, pieces: list[str]) -> None:
    from elastic_sandbox.errors import ElasticError

    with contextlib.suppress(ElasticError):
        world.backend.esql.query("FROM staff | " + " ".join(pieces))
