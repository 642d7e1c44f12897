"""Scripts of runtime fields: what `doc` holds, what `emit` takes, and what goes wrong in the server's words.

Facts from Elastic's YAML tests `runtime_fields`, the Painless reference and the tests of its field scripts.
"""

from __future__ import annotations

from typing import Any

import pytest

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.painless.doc_values import CLASSES, NO_VALUE, Doc, DocValues, Loader
from elastic_sandbox.painless.field_script import compile_field_script
from elastic_sandbox.painless.java_time import UTC_ZONE, ZonedDateTime
from elastic_sandbox.search.runtime_fields import parse_of

TUESDAY = 1_516_729_294_123  # 2018-01-23T17:41:34.123Z
FIELDS: dict[str, tuple[str, list[Any]]] = {
    "a": ("keyword", ["x"]),
    "tags": ("keyword", ["one", "two"]),
    "none": ("keyword", []),
    "n": ("long", [7]),
    "big": ("long", [100_000]),
    "d": ("double", [2.5]),
    "b": ("boolean", [True]),
    "t": ("date", [ZonedDateTime(TUESDAY, UTC_ZONE)]),
}


def emitted(source: str, kind: str = "keyword", params: dict[str, Any] | None = None) -> list[Any]:
    """What a script of a field `f` emits for a document with `FIELDS`."""
    parse_date = parse_of("strict_date_optional_time||epoch_millis") if kind == "date" else None
    script = compile_field_script("f", kind, source, parse_date)

    def loader(name: str) -> Loader:
        def load(_doc: Doc) -> DocValues:
            field_kind, values = FIELDS[name]
            return CLASSES[field_kind](values)

        return load

    loaders = {name: loader(name) for name in script.reads}
    return script.values(Doc(loaders, FIELDS.__contains__, ()), params or {})


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        ("emit(doc['a'].value + '/' + doc['n'].value)", "keyword", ["x/7"]),
        ("emit(doc.a.value)", "keyword", ["x"]),
        ("emit(doc.get('a').get(0) + doc['tags'][1])", "keyword", ["xtwo"]),
        ("for (String tag : doc['tags']) { emit(tag.toUpperCase()); }", "keyword", ["ONE", "TWO"]),
        ("if (doc['none'].size() == 0 && doc['none'].empty) emit('none')", "keyword", ["none"]),
        ("if (doc['none'].size() > 0) emit(doc['none'].value)", "keyword", []),
        ("emit(doc.containsKey('a') + '' + doc.containsKey('z'))", "keyword", ["truefalse"]),
        ("emit('' + doc['tags'].length + doc['a'].value.length())", "keyword", ["21"]),
        ("emit(doc['n'].value); emit(doc['n'].value * 2)", "long", [7, 14]),
        ("emit(doc['big'].value * doc['big'].value)", "long", [10_000_000_000]),
        ("def v = doc['big'].value; emit(v * v)", "long", [10_000_000_000]),
        ("for (def v : doc['big']) { emit(v * v); }", "long", [10_000_000_000]),
        ("emit((long) (doc['d'].value * params.factor))", "long", [25]),
        ("emit(doc['n'].value / 2)", "long", [3]),
        ("emit(doc['n'].value)", "double", [7.0]),
        ("emit(doc['d'].value / 0)", "double", [float("inf")]),
        ("emit(doc['d'].value >= 2.5)", "boolean", [True]),
        ("emit(doc['b'].value)", "boolean", [True]),
        ("emit(doc['t'].value.toInstant().toEpochMilli())", "date", [TUESDAY]),
        ("for (def dt : doc['t']) { emit(dt.plus(params.days, ChronoUnit.DAYS).toEpochMilli()); }", "date",
         [TUESDAY + 86_400_000]),
        ("emit(parse('2018-01-23T17:41:34.123Z'))", "date", [TUESDAY]),
        ("emit('10.' + doc['n'].value + '.0.1')", "ip", ["00000000000000000000ffff0a070001"]),
        ("emit(doc['t'].value.dayOfWeekEnum.getDisplayName(TextStyle.FULL, Locale.ROOT))", "keyword", ["Tuesday"]),
        ("emit(doc['t'].value.getDayOfWeekEnum().toString())", "keyword", ["TUESDAY"]),
        ("emit(doc['t'].value.month.getDisplayName(TextStyle.SHORT, Locale.ENGLISH))", "keyword", ["Jan"]),
        ("emit('' + doc['t'].value)", "keyword", ["2018-01-23T17:41:34.123Z"]),
        ("emit(doc['t'].value.getHour())", "long", [17]),
        ("DayOfWeek d = doc['t'].value.dayOfWeekEnum; emit(d == DayOfWeek.TUESDAY && d.value == 2)", "boolean", [True]),
        ("emit(doc['t'].value.isAfter(Instant.ofEpochMilli(0).atZone(ZoneId.of('UTC'))))", "boolean", [True]),
        ("emit(doc['t'].value.minusDays(23).toInstant().toEpochMilli() / 1000)", "long", [1_514_742_094]),
        ("ZonedDateTime z = doc['t'].value.withZoneSameInstant(ZoneId.of('Asia/Tokyo')); emit(z.hour)", "long", [2]),
        ("emit(ZonedDateTime.ofInstant(Instant.ofEpochMilli(0), ZoneId.of('UTC')).getYear())", "long", [1970]),
        ("emit(params._source.user.name)", "keyword", ["jo"]),
        ("def s = params['_source']; if (s.containsKey('user')) emit(s['user'].name)", "keyword", ["jo"]),
    ],
)  # fmt: skip
def test_scripts_emit_java_s_values(source: str, kind: str, expected: list[Any]) -> None:
    params = {"factor": 10, "days": 1, "_source": {"user": {"name": "jo"}}}
    found = emitted(source, kind, params)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize(
    ("source", "kind", "exception", "reason"),
    [
        ("emit(doc['none'].value)", "keyword", "illegal_state_exception", NO_VALUE),
        ("emit(doc['none'][0])", "keyword", "illegal_state_exception", NO_VALUE),
        ("emit(doc['a'].get(1))", "keyword", "index_out_of_bounds_exception", None),
        ("emit(doc['n'].value)", "keyword", "class_cast_exception",
         "cannot implicitly cast def [long] to java.lang.String"),
        ("emit(doc['d'].value)", "long", "class_cast_exception", "cannot implicitly cast def [double] to long"),
        ("emit(doc['a'].value)", "boolean", "class_cast_exception", "cannot cast def [java.lang.String] to boolean"),
        ("emit(doc['n'])", "long", "class_cast_exception",
         "cannot implicitly cast def [org.elasticsearch.index.fielddata.ScriptDocValues.Longs] to long"),
        ("emit(null)", "keyword", "null_pointer_exception", None),
        ("emit('10.0.0')", "ip", "illegal_argument_exception", "'10.0.0' is not an IP string literal."),
        ("for (int i = 0; i < 101; i++) { emit(i); }", "long", "illegal_argument_exception",
         "Runtime field [f] is emitting [101] values while the maximum number of values allowed is [100]"),
        ("String s = 'xxxxxxxxxxxxxxxx'; for (int i = 0; i < 16; i++) { s += s; } emit(s); emit(s)", "keyword",
         "illegal_argument_exception",
         "Runtime field [f] is emitting [2097152] characters while the maximum number of values allowed is [1048576]"),
        ("doc['a'].add('y')", "keyword", "unsupported_operation_exception", "doc values are unmodifiable"),
        ("emit(doc['a'].value.hour)", "keyword", "illegal_argument_exception",
         "dynamic getter [java.lang.String, hour] not found"),
        ("Instant i = doc['t'].value; emit(i.toString())", "keyword", "class_cast_exception", None),
        ("emit(ZoneId.of('Nowhere').getId())", "keyword", "zone_rules_exception", "Unknown time-zone ID: Nowhere"),
    ],
)  # fmt: skip
def test_what_a_script_throws_is_a_runtime_error(source: str, kind: str, exception: str, reason: str | None) -> None:
    with pytest.raises(ElasticError) as caught:
        emitted(source, kind)
    error = caught.value
    assert (error.status, error.type, error.reason) == (400, "script_exception", "runtime error")
    assert error.caused_by is not None
    assert error.caused_by["type"] == exception
    assert reason in {None, error.caused_by["reason"]}


def test_the_stack_points_at_the_value_that_is_not_there() -> None:
    with pytest.raises(ElasticError) as caught:
        emitted("emit(doc['none'].value)")
    assert caught.value.metadata["script_stack"] == ["emit(doc['none'].value)", "                ^---- HERE"]


@pytest.mark.parametrize(
    ("source", "kind", "reason"),
    [
        ("emit('a')", "long", "Cannot cast from [java.lang.String] to [long]."),
        ("emit(1.5)", "long", "Cannot cast from [double] to [long]."),
        ("int i = 1; emit(i + 1)", "keyword", "Cannot cast from [int] to [java.lang.String]."),
        ("emit(1 == 1)", "double", "Cannot cast from [boolean] to [double]."),
        ("emit()", "keyword", "Unknown call [emit] with [0] arguments."),
        ("emit('a', 'b')", "keyword", "Unknown call [emit] with [2] arguments."),
        ("parse('a')", "keyword", "Unknown call [parse] with [1] arguments."),
        ("doc['a'].value", "keyword", "not a statement: result of dot operator [.] not used"),
        ("1 + 1", "long", "not a statement: result not used from addition operation [+]"),
        ("def x = 1; x", "long", "not a statement: variable [x] not used"),
        ("emit(ctx.a)", "keyword", "cannot resolve symbol [ctx]"),
    ],
)
def test_what_painless_refuses_is_a_compile_error(source: str, kind: str, reason: str) -> None:
    with pytest.raises(ElasticError) as caught:
        emitted(source, kind)
    assert (caught.value.status, caught.value.reason) == (400, "compile error")
    assert caught.value.caused_by is not None
    assert caught.value.caused_by["reason"] == reason


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("def v = doc['big'].value; v = 100000; emit('' + v * v)", "integer arithmetic beyond 32 bits"),
        ("emit(doc[params.name].value)", "[doc] with a computed name"),
        ("def d = doc; emit(d['a'].value)", "[doc] other than"),
        ("emit(field('a').get(''))", "function [field]"),
        ("emit($('a', ''))", "[$]"),
        ("emit(grok('%{IP:ip}').extract(doc['a'].value).ip)", "method [extract]"),
        ("emit(params._fields.a.value)", "_fields"),
        ("params.seen = 1; emit('a')", "assignment to a member of [params]"),
        ("return 'a'", "return of a value"),
        ("emit(doc['t'].value.format(null))", "method [format]"),
        ("emit(doc['t'].value.offset.toString())", "[offset] of a java.time.ZonedDateTime"),
        ("emit(/a/.matcher(doc['a'].value).group(1))", "[/a]"),
    ],
)
def test_painless_beyond_the_subset_is_501_by_name(source: str, named: str) -> None:
    with pytest.raises(ElasticError) as caught:
        emitted(source, params={"name": "a"})
    assert caught.value.status == 501
    assert named in caught.value.reason


def test_days_of_a_zone_follow_its_clock_when_the_clock_changes() -> None:
    # 2026-03-29 has 23 hours in Berlin.
    source = (
        "ZonedDateTime z = Instant.ofEpochMilli(params.at).atZone(ZoneId.of('Europe/Berlin')); "
        "emit(z.plusDays(1).toEpochMilli() - params.at); emit(z.plusHours(24).toEpochMilli() - params.at)"
    )
    noon = 1_774_695_600_000  # 2026-03-28T12:00+01:00 less an hour: 11:00Z
    assert emitted(source, "long", {"at": noon}) == [82_800_000, 86_400_000]
