"""ES|QL's operators and functions, value by value; the cases follow Elastic's csv-spec files of the same topics."""

# ruff: noqa: E501  a case stays on its line

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sandbox.esql_world import World

NULL = "failed, treating result as null. Only first 20 failures recorded."


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    made.index(
        "people",
        {"name": "keyword", "age": "integer", "seen": "date", "ip": "ip", "bio": "text", "grades": "integer",
         "weight": "float", "small": "half_float", "price": {"type": "scaled_float", "scaling_factor": 100},
         "big": "unsigned_long"},
        [
            {"name": "Ida", "age": 31, "seen": "2026-02-28T12:00:00Z", "ip": "10.1.2.3", "bio": "Likes Trains",
             "grades": [2, 1, 2], "weight": 60.1, "small": 2.1, "price": 9.999, "big": 18446744073709551615},
            {"name": "Ole", "ip": "2001:db8::1", "grades": 3},
        ],
    )  # fmt: skip
    yield made
    made.backend.close()


@pytest.mark.parametrize(
    ("expression", "value", "kind"),
    [
        # arithmetic: whole numbers stay whole, the wider type wins
        ("1 + 2", 3, "integer"), ("1 + 2147483648", 2147483649, "long"), ("7 / 2", 3, "integer"),
        ("-7 / 2", -3, "integer"), ("-7 % 3", -1, "integer"), ("7 / 2.0", 3.5, "double"), ("1 + 2 * 3", 7, "integer"),
        ("(1 + 2) * 3", 9, "integer"), ("2 - 3 - 4", -5, "integer"), ("-(-(1))", 1, "integer"), ("5.5 % 2", 1.5, "double"),
        ("9223372036854775808", 9223372036854775808, "unsigned_long"), ("1e3", 1000.0, "double"),
        ("18446744073709551616", 1.8446744073709552e19, "double"), ("[1, 2.5]", [1.0, 2.5], "double"),
        # logic of three values
        ("true AND null", None, "boolean"), ("false AND null", False, "boolean"), ("true OR null", True, "boolean"),
        ("NOT null", None, "boolean"), ("1 == 1.0", True, "boolean"), ("1 IN (2, null)", None, "boolean"),
        ("1 IN (1, null)", True, "boolean"), ("null == 1", None, "boolean"), ("null IS NULL", True, "boolean"),
        ('"b" > "a"', True, "boolean"), ('"a" < "B"', False, "boolean"),
        # numbers
        ("ABS(-3)", 3, "integer"), ("CEIL(1.2)", 2.0, "double"), ("CEIL(3)", 3, "integer"), ("FLOOR(-1.2)", -2.0, "double"),
        ("ROUND(2.5)", 3.0, "double"), ("ROUND(-2.5)", -3.0, "double"), ("ROUND(1.256, 2)", 1.26, "double"),
        ("ROUND(1255, -1)", 1260, "integer"), ("ROUND(7, 2)", 7, "integer"), ("POW(2, 3)", 8.0, "double"),
        ("POW(4, 0.5)", 2.0, "double"), ("SQRT(9)", 3.0, "double"), ("LOG10(1000)", 3.0, "double"),
        ("LOG(100)", 4.605170185988092, "double"), ("LOG(2, 8)", 3.0, "double"), ("1 + null", None, "integer"),
        # conditions
        ('CASE(false, 1, true, 2.5)', 2.5, "double"), ("CASE(false, 1)", None, "integer"),
        ('CASE(null, "a", "b")', "b", "keyword"), ('COALESCE(null, "x", "y")', "x", "keyword"),
        ("COALESCE(null, 1, 2.5)", 1.0, "double"), ("GREATEST(1, 3, 2)", 3, "integer"), ("LEAST(1.5, 1)", 1.0, "double"),
        ("GREATEST(1, null)", None, "integer"), ("CASE(true, [1, 2], [3])", [1, 2], "integer"),
        # texts
        ('CONCAT("a", "b", "c")', "abc", "keyword"), ('CONCAT("a", null)', None, "keyword"), ('LENGTH("Ünï")', 3, "integer"),
        ('SUBSTRING("letter", 2)', "etter", "keyword"), ('SUBSTRING("letter", -3, 2)', "te", "keyword"),
        ('SUBSTRING("letter", 0, 1)', "l", "keyword"), ('SUBSTRING("ab", -9)', "ab", "keyword"),
        ('LEFT("letter", 2)', "le", "keyword"), ('RIGHT("letter", 2)', "er", "keyword"), ('TRIM("\\t a ")', "a", "keyword"),
        ('LTRIM(" a ")', "a ", "keyword"), ('RTRIM(" a ")', " a", "keyword"), ('TO_UPPER("ß€x")', "SS€X", "keyword"),
        ('TO_LOWER(["A", "B"])', ["a", "b"], "keyword"), ('STARTS_WITH("letter", "le")', True, "boolean"),
        ('ENDS_WITH("letter", "le")', False, "boolean"), ('LOCATE("hello", "l")', 3, "integer"),
        ('LOCATE("hello", "l", 4)', 4, "integer"), ('LOCATE("hello", "z")', 0, "integer"),
        ('REPLACE("a1b22", "[0-9]+", "#")', "a#b#", "keyword"), ('REPLACE("ab", "(a)(b)", "$2$1")', "ba", "keyword"),
        ('SPLIT("a,b,,c", ",")', ["a", "b", "", "c"], "keyword"), ('"a*c" LIKE "a\\\\*c"', True, "boolean"),
        ('"abc" LIKE "a?"', False, "boolean"), ('"a.c" RLIKE "a\\\\.[^x]"', True, "boolean"),
        ('"a^" RLIKE "a^"', True, "boolean"), ('"ab" RLIKE "a"', False, "boolean"),
        # lists
        ("MV_COUNT([3, 1, 3])", 3, "integer"), ("MV_FIRST([3, 1])", 3, "integer"), ("MV_LAST([3, 1])", 1, "integer"),
        ("MV_MIN([3, 1])", 1, "integer"), ("MV_MAX([3, 1])", 3, "integer"), ("MV_SUM([3, 1])", 4, "integer"),
        ("MV_AVG([3, 5, 1, 6])", 3.75, "double"), ("MV_DEDUPE([3, 1, 3])", [3, 1], "integer"),
        ('MV_SORT(["b", "a"])', ["a", "b"], "keyword"), ('MV_SORT([1, 2], "desc")', [2, 1], "integer"),
        ('MV_CONCAT(["a", "b"], "; ")', "a; b", "keyword"), ("MV_SLICE([1, 2, 3, 4], 1, 2)", [2, 3], "integer"),
        ("MV_SLICE([1, 2, 3], -2, -1)", [2, 3], "integer"), ("MV_SLICE([1, 2, 3], 0)", 1, "integer"), ("MV_COUNT(5)", 1, "integer"),
        # conversions
        ('TO_LONG("2147483648.2")', 2147483648, "long"), ("TO_INTEGER(2.5)", 3, "integer"), ("TO_INTEGER(true)", 1, "integer"),
        ('TO_DOUBLE("5.2e3")', 5200.0, "double"), ('TO_BOOLEAN("TRUE")', True, "boolean"), ("TO_BOOLEAN(0)", False, "boolean"),
        ("TO_STRING(1.0e10)", "1.0E10", "keyword"), ("0.0001::string", "1.0E-4", "keyword"), ("123456.7::keyword", "123456.7", "keyword"),
        ("TO_STRING([1, 2])", ["1", "2"], "keyword"), ('"10.0.0.7"::ip', "10.0.0.7", "ip"),
        ('TO_STRING("2001:DB8::1"::ip)', "2001:db8::1", "keyword"), ("TO_STRING(false)", "false", "keyword"),
        ('TO_DATETIME("2026-01-02")', "2026-01-02T00:00:00.000Z", "date"), ("TO_DATETIME(1000)", "1970-01-01T00:00:01.000Z", "date"),
        ('TO_LONG("2026-01-02"::datetime)', 1767312000000, "long"), ('"1" :: integer', 1, "integer"),
        ('CIDR_MATCH("10.1.2.3"::ip, "10.2.0.0/16", "10.1.0.0/16")', True, "boolean"),
        ('CIDR_MATCH("2001:db8::5"::ip, "2001:db8::/64")', True, "boolean"),
    ],
)  # fmt: skip
def test_an_expression_has_this_value_and_type(world: World, expression: str, value: Any, kind: str) -> None:
    answer = world.ask(f"ROW x = {expression}")
    assert answer.values == [[value]]
    assert answer.columns == [{"name": "x", "type": kind}]
    assert type(answer.values[0][0]) is type(value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("d + 1 month", "2024-02-29T22:15:30.500Z"), ("d - 1 year", "2023-01-31T22:15:30.500Z"),
        ("2 days + d", "2024-02-02T22:15:30.500Z"), ("d - 90 minutes", "2024-01-31T20:45:30.500Z"),
        ("d + (1 month + 2 days)", "2024-03-02T22:15:30.500Z"), ("d + -1 week", "2024-01-24T22:15:30.500Z"),
        ('d + "3 hours"::time_duration', "2024-02-01T01:15:30.500Z"),
        ("DATE_TRUNC(1 hour, d)", "2024-01-31T22:00:00.000Z"), ("DATE_TRUNC(1 week, d)", "2024-01-29T00:00:00.000Z"),
        ("DATE_TRUNC(1 month, d)", "2024-01-01T00:00:00.000Z"), ("DATE_TRUNC(1 quarter, d)", "2024-01-01T00:00:00.000Z"),
        ("DATE_TRUNC(5 years, d)", "2021-01-01T00:00:00.000Z"), ("DATE_TRUNC(240 hours, d)", "2024-01-28T00:00:00.000Z"),
        ("DATE_TRUNC(4 months, d)", "2024-01-01T00:00:00.000Z"),
        ("DATE_TRUNC(1 day, \"1969-12-31T23:00:00Z\"::datetime)", "1969-12-31T00:00:00.000Z"),
        ('DATE_EXTRACT("year", d)', 2024), ('DATE_EXTRACT("DAY_OF_WEEK", d)', 3), ('DATE_EXTRACT("hour_of_day", d)', 22),
        ('DATE_EXTRACT("day_of_year", d)', 31), ('DATE_EXTRACT("epoch_day", d)', 19753),
        ('DATE_FORMAT("yyyy-MM-dd HH:mm", d)', "2024-01-31 22:15"), ("DATE_FORMAT(d)", "2024-01-31T22:15:30.500Z"),
        ('DATE_FORMAT("EEE d MMM", d)', "Wed 31 Jan"), ("DATE_FORMAT(\"yyyy'W'ww\", d)", "2024W05"),
        ('DATE_PARSE("yyyy/MM/dd", "2024/02/03")', "2024-02-03T00:00:00.000Z"), ('DATE_PARSE("2024-02-03")', "2024-02-03T00:00:00.000Z"),
        ('DATE_DIFF("month", d, "2024-03-31T22:15:30.499Z")', 1), ('DATE_DIFF("month", d, "2024-03-31T22:15:30.500Z")', 2),
        ('DATE_DIFF("years", d, "2023-01-31T22:15:30.500Z")', -1), ('DATE_DIFF("hour", "2024-02-01T00:00:00Z", d)', -1),
        ('DATE_DIFF("ms", d, d)', 0), ('DATE_DIFF("week", d, "2024-02-20")', 2),
        ('d > "2024"', True), ('d IN ("2024-01-31T22:15:30.500Z")', True), ("TO_STRING(d)", "2024-01-31T22:15:30.500Z"),
    ],
)  # fmt: skip
def test_dates(world: World, expression: str, value: Any) -> None:
    query = f'ROW d = TO_DATETIME("2024-01-31T22:15:30.500Z") | EVAL x = {expression} | KEEP x'
    assert world.rows(query) == [[value]]


def test_now_is_the_clocks_and_the_same_all_through_a_query(world: World) -> None:
    from datetime import UTC, datetime

    world.backend.clock.freeze(datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC))
    assert world.rows("ROW a = NOW() | EVAL b = NOW() == a") == [["2026-05-04T03:02:01.000Z", True]]
    assert world.row("DATE_TRUNC(1 day, NOW())") == ["2026-05-04T00:00:00.000Z"]
    world.backend.clock.reset()


@pytest.mark.parametrize(
    ("call", "buckets"),
    [
        ('BUCKET(t, 20, "2026-01-01", "2027-01-01")', ["2026-03-01T00:00:00.000Z"]),
        ('BUCKET(t, 100, "2026-01-01", "2027-01-01")', ["2026-03-09T00:00:00.000Z"]),
        ('BUCKET(t, 5, "2026-01-01", "2027-01-01")', ["2026-01-01T00:00:00.000Z"]),
        ('BUCKET(t, 4, "2026-03-10T08:00:00Z", "2026-03-10T12:00:00Z")', ["2026-03-10T10:00:00.000Z"]),
        ('BUCKET(t, 4, "2026-03-10T08:00:00Z", "2026-03-10T12:00:00.001Z")', ["2026-03-10T09:00:00.000Z"]),
        ('BUCKET(t, 50, "2026-03-10T10:00:00Z", "2026-03-10T10:30:00Z")', ["2026-03-10T10:37:00.000Z"]),
        ('BUCKET(t, 10, CONCAT("2026", "-03-10"), NOW() - 1 day)', None),
        ("BUCKET(t, 30 minutes)", ["2026-03-10T10:30:00.000Z"]),
        ("BUCKET(t, 1 month)", ["2026-03-01T00:00:00.000Z"]),
        ('BUCKET(t, "1 week")', ["2026-03-09T00:00:00.000Z"]),
        ("BUCKET(n, 5)", [35.0]),
        ("BUCKET(n, 0.5)", [37.0]),
        ("BUCKET(n, 21, 0, 100)", [35.0]),
        ("BUCKET(n, 20, 25324, 74999)", [0.0]),
    ],
)
def test_a_bucket_is_a_span_that_people_like(world: World, call: str, buckets: list[Any] | None) -> None:
    found = world.rows(f'ROW t = "2026-03-10T10:37:12Z"::datetime, n = 37 | STATS BY b = {call}')
    assert len(found) == 1
    assert buckets is None or found == [buckets]


@pytest.mark.parametrize(
    ("query", "failed", "exceptions"),
    [
        ("ROW n = 2147483647 | EVAL x = n + 1", "Line 1:31: evaluation of [n + 1]", ["java.lang.ArithmeticException: integer overflow"]),
        ("ROW n = 9223372036854775807 | EVAL x = n * 2", "Line 1:40: evaluation of [n * 2]", ["java.lang.ArithmeticException: long overflow"]),
        ("ROW n = -9223372036854775808 | EVAL x = -n", "Line 1:41: evaluation of [-n]", ["java.lang.ArithmeticException: long overflow"]),
        ("ROW n = 1 | EVAL x = n / 0", "Line 1:22: evaluation of [n / 0]", ["java.lang.ArithmeticException: / by zero"]),
        ("ROW n = 1.5, z = 0 | EVAL x = n % z", "Line 1:31: evaluation of [n % z]", ["java.lang.ArithmeticException: / by zero"]),
        ("ROW n = [1, 2] | EVAL x = n + 1", "Line 1:27: evaluation of [n + 1]",
         ["java.lang.IllegalArgumentException: single-value function encountered multi-value"]),
        ('ROW n = ["a", "b"] | EVAL x = LENGTH(n)', "Line 1:31: evaluation of [LENGTH(n)]",
         ["java.lang.IllegalArgumentException: single-value function encountered multi-value"]),
        ("ROW n = -1 | EVAL x = LOG(n)", "Line 1:23: evaluation of [LOG(n)]", ["java.lang.ArithmeticException: Log of non-positive number"]),
        ("ROW n = 1 | EVAL x = LOG(n, 2)", "Line 1:22: evaluation of [LOG(n, 2)]", ["java.lang.ArithmeticException: Log of base 1"]),
        ("ROW n = -1 | EVAL x = SQRT(n)", "Line 1:23: evaluation of [SQRT(n)]", ["java.lang.ArithmeticException: Square root of negative"]),
        ("ROW n = -4 | EVAL x = POW(n, 0.5)", "Line 1:23: evaluation of [POW(n, 0.5)]",
         ["java.lang.ArithmeticException: not a finite double number: NaN"]),
        ("ROW n = 1e308 | EVAL x = n * 10", "Line 1:26: evaluation of [n * 10]",
         ["java.lang.ArithmeticException: not a finite double number: Infinity"]),
        ('ROW n = "foo" | EVAL x = TO_LONG(n)', "Line 1:26: evaluation of [TO_LONG(n)]",
         ["org.elasticsearch.xpack.esql.core.InvalidArgumentException: Cannot parse number [foo]"]),
        ("ROW n = 1e19 | EVAL x = n::long", "Line 1:25: evaluation of [n::long]",
         ["org.elasticsearch.xpack.esql.core.InvalidArgumentException: [1.0E19] out of [long] range"]),
        ('ROW n = "1.2.3" | EVAL x = TO_IP(n)', "Line 1:28: evaluation of [TO_IP(n)]",
         ["java.lang.IllegalArgumentException: '1.2.3' is not an IP string literal."]),
        ('ROW n = "2026-13" | EVAL x = DATE_PARSE("yyyy-MM", n)', 'Line 1:30: evaluation of [DATE_PARSE("yyyy-MM", n)]',
         ["java.lang.IllegalArgumentException: failed to parse date field [2026-13] with format [yyyy-MM]"]),
        ("ROW n = [1, 2147483647] | EVAL x = MV_SUM(n)", "Line 1:36: evaluation of [MV_SUM(n)]", ["java.lang.ArithmeticException: integer overflow"]),
        ('ROW n = "a" | EVAL x = SUBSTRING(n, 1, -1)', "Line 1:24: evaluation of [SUBSTRING(n, 1, -1)]",
         ["java.lang.IllegalArgumentException: Length parameter cannot be negative, found [-1]"]),
    ],
)  # fmt: skip
def test_a_failure_is_null_and_two_warnings(world: World, query: str, failed: str, exceptions: list[str]) -> None:
    place = failed.split(": ", maxsplit=1)[0]
    assert world.rows(query)[0][-1] is None
    assert world.warnings(query) == [f"{failed} {NULL}", *(f"{place}: {one}" for one in exceptions)]


def test_values_of_a_list_that_do_not_convert_are_left_out(world: World) -> None:
    query = "ROW long = [5013792, 2147483647, 501379200000] | EVAL int = TO_INTEGER(long) | KEEP int"
    assert world.rows(query) == [[[5013792, 2147483647]]]
    assert world.warnings(query) == [
        f"Line 1:61: evaluation of [TO_INTEGER(long)] {NULL}",
        "Line 1:61: org.elasticsearch.xpack.esql.core.InvalidArgumentException: [501379200000] out of [integer] range",
    ]
    assert world.row('TO_LONG(["a", "b"])') == [None]


def test_arms_that_are_not_taken_fail_for_nothing(world: World) -> None:
    assert world.warnings("FROM people | EVAL x = CASE(age > 0, 100 / (age - 31), 0), y = COALESCE(age, 1 / 0)") == [
        f"Line 1:38: evaluation of [100 / (age - 31)] {NULL}",
        "Line 1:38: java.lang.ArithmeticException: / by zero",
        f"Line 1:78: evaluation of [1 / 0] {NULL}",
        "Line 1:78: java.lang.ArithmeticException: / by zero",
    ]
    assert (
        world.warnings(
            'FROM people | EVAL x = CASE(age > 99, 1 / (age - 31), 0), y = COALESCE(name, "1"::long::string)'
        )
        == []
    )


def test_a_list_as_a_condition_of_case_is_false(world: World) -> None:
    assert world.row('CASE([true, false], "a", "b")') == ["b"]
    assert world.warnings('ROW CASE([true, true], "a", "b")')[0].endswith(
        "failed, treating result as false. Only first 20 failures recorded."
    )


def test_at_most_twenty_failures_of_a_place_are_told(world: World) -> None:
    world.index("words", {"w": "keyword"}, [{"w": f"w{n}"} for n in range(40)])
    warnings = world.warnings("FROM words | EVAL x = w::integer")
    assert len(warnings) == 21
    assert len(set(warnings)) == 21


def test_fields_of_every_type_are_shown_as_stored(world: World) -> None:
    assert world.rows("FROM people | WHERE age == 31 | KEEP weight, small, price, big, ip, grades, bio") == [
        [60.099998474121094, 2.099609375, 10.0, 18446744073709551615, "10.1.2.3", [1, 2, 2], "Likes Trains"]
    ]


def test_addresses_compare_and_group_as_addresses(world: World) -> None:
    assert world.rows('FROM people | WHERE ip == "10.1.2.3" | KEEP name') == [["Ida"]]
    assert world.rows('FROM people | WHERE CIDR_MATCH(ip, "2001:db8::/32") | KEEP name') == [["Ole"]]
    assert world.rows("FROM people | STATS n = COUNT(*), MAX(ip) BY ip | SORT ip DESC | LIMIT 1") == [
        [1, "2001:db8::1", "2001:db8::1"]
    ]


def test_deep_expressions_stay_small(world: World) -> None:
    import time

    added = " + ".join(["age"] * 120)
    began = time.monotonic()
    assert world.rows(f"FROM people | WHERE age == 31 | EVAL x = {added} | KEEP x") == [[31 * 120]]
    assert time.monotonic() - began < 5


def test_percentiles_interpolate_and_leave_the_range_as_null(world: World) -> None:
    world.index("spread", {"v": "double"}, [{"v": v} for v in (15.0, 20.0, 35.0, 40.0, 50.0)])
    query = (
        "FROM spread | STATS PERCENTILE(v, 0), PERCENTILE(v, 40), PERCENTILE(v, 99), MEDIAN(v), PERCENTILE(v, 110), "
        "STD_DEV(v), PERCENTILE(v, 5 * 10)"
    )
    assert world.rows(query) == [[15.0, pytest.approx(29.0), pytest.approx(49.6), 35.0, None,
                                  pytest.approx(12.884098726725126), 35.0]]  # fmt: skip
