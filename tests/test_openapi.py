"The API does what its description says: thousands of made-up requests find no difference."

import pytest
from conftest import CI
from serving import serving, tags

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402

from movie_tagger.serve.app import create_app  # noqa: E402

pytest_plugins = ["serving"]

EXAMPLES = 60 if CI else 25


@pytest.fixture(scope="module")
def site(models, tmp_path_factory):
    with serving(
        create_app(models, tmp_path_factory.mktemp("openapi") / "l.db", sensitive=["blood"])
    ) as client:
        yield client


def operations():
    return [
        ("GET", "/v1/vocabulary"),
        ("GET", "/v1/model"),
        ("GET", "/healthz/live"),
        ("GET", "/healthz/ready"),
        ("GET", "/metrics"),
        ("GET", "/v1/find"),
        ("GET", "/v1/picture"),
        ("POST", "/v1/tags"),
        ("POST", "/v1/similar"),
        ("POST", "/v1/feedback"),
    ]


@pytest.mark.parametrize("method, path", operations())
def test_made_up_requests_find_no_failure(site, method, path):
    url = str(site.base_url).rstrip("/")
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")[path][method]
    # no schema can say which bytes are a picture, or that a still was answered before
    beyond = (
        [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")] if method == "POST" else []
    )

    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(case=operation.as_strategy())
    def check(case):
        case.call_and_validate(base_url=url, excluded_checks=beyond)

    check()
    assert site.get("/healthz/ready").status_code == 200


def test_all_operations_are_tried(site):
    assert {
        (m.upper(), p)
        for p, methods in site.get("/openapi.json").json()["paths"].items()
        for m in methods
    } == set(operations())


def test_the_answer_has_the_form_that_is_described(site, picture):
    import jsonschema

    document = site.get("/openapi.json").json()
    form = {"$ref": "#/components/schemas/Answered", "components": document["components"]}
    jsonschema.validate(tags(site, picture).json(), form, cls=jsonschema.Draft202012Validator)
    for status, answer in document["paths"]["/v1/tags"]["post"]["responses"].items():
        if status != "200":
            assert list(answer["content"]) == ["application/problem+json"], status
    assert "promise of /v1" in document["info"]["description"]
