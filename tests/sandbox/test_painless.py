"""Painless: values and operators as Java has them, the errors of real scripts, refusal of what the subset lacks."""

from __future__ import annotations

import math
import operator
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ingest.document import IngestDocument
from elastic_sandbox.painless import compile_script


def run(source: str, ctx: Any = None, params: dict[str, Any] | None = None) -> Any:
    return compile_script(source).run({} if ctx is None else ctx, params or {})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("7 / 2.0", 3.5),
        ("1.0 / 0", math.inf),
        ("1 + 2 * 3 - 4", 3),
        ("(1 + 2) * 3", 9),
        ("1 == 1.0", True),
        ("'1' == 1", False),
        ("true == 1", False),
        ("null == null", True),
        ("'a' + 1 + 1.0 + null + true", "a11.0nulltrue"),
        ("1 + 1 + 'a'", "2a"),
        ("1e10 + ''", "1.0E10"),
        ("0.00001 + ''", "1.0E-5"),
        ("100.0 + ''", "100.0"),
        ("[1, 'a', null] + ''", "[1, a, null]"),
        ("['a': 1] + ''", "{a=1}"),
        ("null ?: 'd'", "d"),
        ("2 > 1 ? 'y' : 'n'", "y"),
        ("!(1 > 2) && 3 >= 3 || false", True),
        ("'aB'.compareTo('aa')", -31),
        ("'abc'.compareTo('ab')", 1),
        ("'abc'.substring(1)", "bc"),
        ("'abc'.substring(0, 2)", "ab"),
        ("'a.b'.splitOnToken('.')", ["a", "b"]),
        ("'it\\'s'", "it's"),
        ("Math.max(1, 2.5)", 2.5),
        ("Math.min(3, 2)", 2),
        ("Math.round(2.5)", 3),
        ("Math.round(-2.5)", -2),
        ("Math.log(0)", -math.inf),
        ("Double.parseDouble('1.5e3')", 1500.0),
        ("Integer.parseInt('-12')", -12),
        ("String.join('|', ['a', 'b'])", "a|b"),
        ("100000L * 100000", 10_000_000_000),
        ("(int) 3.9", 3),
        ("(double) 3 / 2", 1.5),
        ("[1, 2] instanceof List", True),
        ("[:] instanceof Map && !('x' instanceof Map)", True),
        ("1 instanceof Integer && 1.5 instanceof Double", True),
    ],
)
def test_expressions_have_java_s_values(source: str, expected: Any) -> None:
    value = run(source)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("int i = 0; for (int j = 0; j < 5; j++) { if (j == 1) continue; if (j == 4) break; i += j } return i", 5),
        ("double s = 0; for (c in [1, 2, 3]) s += c; return s", 6.0),
        ("def m = ['a': 1]; m.b = 2; m['c'] = m.a + m.b; return m", {"a": 1, "b": 2, "c": 3}),
        ("def l = new ArrayList(); l.add('x'); l.add(0, 'w'); return l", ["w", "x"]),
        ("for (e in ['a': 1, 'b': 2].entrySet()) { if (e.getValue() == 2) { return e.getKey() } } return null", "b"),
        ("if (params.x == null) return 'none'; else { return 'some' }", "none"),
        ("def x; if (x == null) x = 1", None),
        ("int i = 3; int j = i++; return i * 10 + j", 43),
        ("int i = 7; i /= 2; return i", 3),
        ("int i = 1; i += 1.7; return i", 2),
        ("// a comment\n return /* another */ 1", 1),
        ("String s = 'a'; s += 1; return s", "a1"),
    ],
)
def test_statements_run_as_in_java(source: str, expected: Any) -> None:
    assert run(source) == expected


def test_null_safe_access_stops_at_the_first_null_and_plain_access_throws() -> None:
    ctx = {"event": {"action": "login"}}
    assert run("ctx.event?.action == 'login' && ctx.user?.name == null", ctx) is True
    with pytest.raises(ElasticError) as caught:
        run("ctx.user.name == 'x'", ctx)
    error = caught.value
    assert (error.status, error.type, error.reason) == (400, "script_exception", "runtime error")
    assert error.caused_by == {
        "type": "null_pointer_exception",
        "reason": "cannot access method/field [name] from a null def reference",
    }
    assert error.metadata["script_stack"] == ["ctx.user.name == 'x'", "        ^---- HERE"]


def test_null_safety_covers_one_access_only() -> None:
    with pytest.raises(ElasticError, match="runtime error"):
        run("ctx.a?.b.c == null", {})


def test_the_score_correction_of_a_served_model_runs() -> None:
    source = """
        def kept = params.kept[ctx.ml.m.model_id];
        double total = 0; double positive = 0;
        for (c in ctx.ml.m.top_classes) {
            double p = c.class_probability / kept[c.class_name];
            total += p;
            if (c.class_name == params.positive) { positive = p; }
        }
        ctx.ml.m.score = total > 0 ? positive / total : 0.0;
    """
    classes = [{"class_name": "true", "class_probability": 0.8}, {"class_name": "false", "class_probability": 0.2}]
    document = IngestDocument({"ml": {"m": {"model_id": "job-1", "top_classes": classes}}}, {"_id": "1"})
    params = {"positive": "true", "kept": {"job-1": {"true": 1.0, "false": 0.1}}}
    compile_script(source).run(document.ctx(), params)
    assert document.source["ml"]["m"]["score"] == pytest.approx(0.8 / (0.8 + 2.0))


@pytest.mark.parametrize(
    ("source", "type_", "reason"),
    [
        ("1 / 0", "arithmetic_exception", "/ by zero"),
        (
            "'a' < 1",
            "class_cast_exception",
            "Cannot apply [<] operation to types [java.lang.String] and [java.lang.Integer].",
        ),
        ("ctx.a < 1", "null_pointer_exception", 'Cannot invoke "Object.getClass()" because "leftObject" is null'),
        ("[1].get(1)", "index_out_of_bounds_exception", "Index 1 out of bounds for length 1"),
        ("Integer.parseInt('x')", "number_format_exception", 'For input string: "x"'),
        ("1.length()", "illegal_argument_exception", "dynamic method [java.lang.Integer, length/0] not found"),
        ("'a'.b", "illegal_argument_exception", "dynamic getter [java.lang.String, b] not found"),
        ("int i = 1.5; return i", "class_cast_exception", "Cannot cast from [java.lang.Double] to [int]."),
        ("ctx.a ? 1 : 2", "null_pointer_exception", None),
    ],
)
def test_runtime_errors_carry_the_java_exception(source: str, type_: str, reason: str | None) -> None:
    source = source.replace("1.length()", "def one = 1; one.length()")
    with pytest.raises(ElasticError) as caught:
        run(source)
    assert caught.value.reason == "runtime error"
    assert caught.value.caused_by is not None
    assert caught.value.caused_by["type"] == type_
    if reason is not None:
        assert caught.value.caused_by["reason"] == reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("ctx.a ==", "unexpected end of script."),
        ("ctx.a == )", "unexpected token [')']."),
        ("x + 1", "cannot resolve symbol [x]"),
        ("def a = 1; def a = 2;", "variable [a] is already defined"),
        ("{ def a = 1; } return a", "cannot resolve symbol [a]"),
        ("ctx = 1", "cannot assign a value to read-only variable [ctx]"),
    ],
)
def test_compile_errors_point_at_the_place(source: str, reason: str) -> None:
    with pytest.raises(ElasticError) as caught:
        compile_script(source)
    error = caught.value
    assert (error.status, error.reason) == (400, "compile error")
    assert error.caused_by == {"type": "illegal_argument_exception", "reason": reason}
    assert error.metadata["script_stack"][1].endswith("^---- HERE")


@pytest.mark.parametrize(
    ("source", "construct"),
    [
        ("while (true) { }", "[while] at position 0"),
        ("ctx.a.removeIf(x -> x > 1)", "[->] at position 17"),
        ("ctx.a =~ /b/", "[=~] at position 6"),
        ("1 << 2", "[<<] at position 2"),
        ("try { } catch (Exception e) { }", "[try] at position 0"),
        ("ctx.a.stream()", "method [stream] at position 6"),
        ("Math.cbrt(8)", "method [Math.cbrt] at position 0"),
        ("new Date()", "[new Date] at position 0"),
        ("emit(1)", "function [emit] at position 0"),
        ("100000 * 100000", "integer arithmetic beyond 32 bits at position 7"),
    ],
)
def test_painless_outside_the_subset_is_refused_by_name_and_position(source: str, construct: str) -> None:
    with pytest.raises(ElasticError) as caught:
        run(source)
    assert caught.value.status == 501
    assert construct in caught.value.reason


def test_a_condition_must_be_boolean() -> None:
    assert compile_script("ctx.flag").test({"flag": True}, {}) is True
    with pytest.raises(ElasticError) as caught:
        compile_script("ctx.flag").test({"flag": "true"}, {})
    assert caught.value.caused_by is not None
    assert caught.value.caused_by["type"] == "class_cast_exception"


def test_a_condition_is_evaluated_a_hundred_thousand_times_a_second() -> None:
    script = compile_script("ctx.event?.action != null && ctx.event.action == 'login'")
    ctx = IngestDocument({"event": {"action": "login"}}, {}).ctx(read_only=True)
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(5_000):
            script.test(ctx, None)
        rates.append(5_000 / (time.perf_counter() - started))
    assert max(rates) > 100_000


# Random expressions: (source, value) built side by side in Painless and in Python.

_whole = st.integers(-1000, 1000).map(lambda value: (f"({value})", value))
_real = st.floats(-1e6, 1e6, allow_nan=False, width=32).map(lambda value: (f"({value!r})", value))


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        return math.trunc(left / right)
    return left / right


_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": _divide}


def _arithmetic(operands: Any) -> Any:
    def combine(parts: tuple[tuple[str, Any], str, tuple[str, Any]]) -> tuple[str, Any]:
        (left_source, left), sign, (right_source, right) = parts
        if sign == "/" and right == 0:
            right_source, right = "(7)", 7
        value = _OPERATIONS[sign](left, right)
        if isinstance(value, int) and abs(value) > 30_000:  # stay clear of the 32-bit refusal
            return left_source, left
        return f"({left_source} {sign} {right_source})", value

    return st.tuples(operands, st.sampled_from(sorted(_OPERATIONS)), operands).map(combine)


arithmetic = st.recursive(_whole | _real, _arithmetic, max_leaves=8)

_COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_comparison = st.tuples(arithmetic, st.sampled_from(sorted(_COMPARISONS)), arithmetic).map(
    lambda parts: (f"{parts[0][0]} {parts[1]} {parts[2][0]}", _COMPARISONS[parts[1]](parts[0][1], parts[2][1]))
)


def _logic(operands: Any) -> Any:
    both = st.tuples(operands, operands).map(lambda p: (f"({p[0][0]} && {p[1][0]})", p[0][1] and p[1][1]))
    either = st.tuples(operands, operands).map(lambda p: (f"({p[0][0]} || {p[1][0]})", p[0][1] or p[1][1]))
    negated = operands.map(lambda p: (f"!({p[0]})", not p[1]))
    return both | either | negated


logic = st.recursive(_comparison, _logic, max_leaves=5)


@settings(max_examples=150, deadline=None)
@given(arithmetic)
def test_arithmetic_equals_java_s(expression: tuple[str, Any]) -> None:
    source, expected = expression
    value = run(source)
    assert type(value) is type(expected)
    assert value == expected or (math.isnan(value) and math.isnan(expected))


@settings(max_examples=100, deadline=None)
@given(logic)
def test_conditions_equal_python_s(expression: tuple[str, bool]) -> None:
    source, expected = expression
    assert compile_script(source).test({}, {}) is expected


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=8), st.text(max_size=8))
def test_compare_to_orders_by_utf16_units(left: str, right: str) -> None:
    compared = run("params.a.compareTo(params.b)", params={"a": left, "b": right})
    units = left.encode("utf-16-be", "surrogatepass"), right.encode("utf-16-be", "surrogatepass")
    assert (compared > 0) - (compared < 0) == (units[0] > units[1]) - (units[0] < units[1])
