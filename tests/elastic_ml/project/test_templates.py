"""How bodies are found and rendered, and what an error in a template says."""

from pathlib import Path

import pytest

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.project.templates import Templates


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    (tmp_path / "templates").mkdir()
    return Templates(tmp_path, {"names": {"audit": "a-1"}})


def put(templates: Templates, name: str, text: str) -> str:
    path = templates._folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def test_json_and_yaml_render_to_the_same_body(templates: Templates):
    as_json = put(templates, "a.json.j2", '{"name": {{ names.audit | tojson }}, "tags": {{ tags | tojson }}}')
    as_yaml = put(templates, "a.yml.j2", "name: {{ names.audit }}\ntags: {{ tags | tojson }}\n")
    body = {"name": "a-1", "tags": ["<b>", "it's"]}
    assert templates.render(as_json, tags=["<b>", "it's"]) == body
    assert templates.render(as_yaml, tags=["<b>", "it's"]) == body


def test_the_project_folder_wins_over_the_package(templates: Templates):
    put(templates, "indices/ledger.yml.j2", "settings: {}\n")
    assert templates.render("indices/ledger.yml.j2", serverless=False) == {"settings": {}}


def test_an_undefined_variable_names_template_line_and_variable(templates: Templates):
    name = put(templates, "a.json.j2", '{\n  "x": 1,\n  "y": {{ missing_one | tojson }}\n}')
    with pytest.raises(ProjectFileError) as caught:
        templates.render(name)
    assert (caught.value.line, caught.value.field) == (3, "missing_one")
    assert caught.value.file.endswith("templates/a.json.j2")


def test_an_undefined_attribute_names_it(templates: Templates):
    name = put(templates, "a.json.j2", '{"y": "{{ names.nope }}"}')
    with pytest.raises(ProjectFileError) as caught:
        templates.render(name)
    assert (caught.value.line, caught.value.field) == (1, "nope")


def test_an_undefined_variable_of_a_package_template_names_the_package():
    with pytest.raises(ProjectFileError) as caught:
        Templates(Path("/nowhere"), {}).render("indices/ledger.yml.j2")
    assert caught.value.file == "elastic_ml/templates/indices/ledger.yml.j2"
    assert (caught.value.line, caught.value.field) == (2, "serverless")


def test_a_syntax_error_names_its_line(templates: Templates):
    name = put(templates, "a.json.j2", "{\n{% if %}\n}")
    with pytest.raises(ProjectFileError) as caught:
        templates.render(name)
    assert caught.value.line == 2


@pytest.mark.parametrize(("name", "text"), [("a.json.j2", '{"x": 1,,}'), ("a.yml.j2", "x: [1\n")])
def test_what_renders_to_no_body_shows_the_rendered_line(templates: Templates, name: str, text: str):
    with pytest.raises(ProjectFileError, match="renders to invalid JSON or YAML"):
        templates.render(put(templates, name, text))


def test_a_body_must_be_an_object(templates: Templates):
    with pytest.raises(ProjectFileError, match="renders no object"):
        templates.render(put(templates, "a.json.j2", "[1]"))


def test_a_template_that_is_nowhere_is_named(templates: Templates):
    with pytest.raises(ProjectFileError, match=r"nope\.json\.j2 is neither in"):
        templates.render("nope.json.j2")


def test_all_package_templates_are_listed(templates: Templates):
    assert {"ilm/audit.yml.j2", "pipelines/audit_normalize.yml.j2"} <= set(templates.names())
