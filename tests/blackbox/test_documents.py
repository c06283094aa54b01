"""The contracts as files are themselves valid, complete, and strict enough to refuse what they must refuse."""

import copy
import json
import re
import subprocess

import openapi_spec_validator
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import best_match

from harness import contract
from harness.program import BUILD, REPOSITORY

ASYNCAPI_SCHEMA = REPOSITORY / "build" / "node" / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
KINDS = sorted(contract.MESSAGES)
AUDIT = {example.get("type", "signature"): example for example in contract.MESSAGES["audit"]["examples"]}
EVENT, ACK, PRESENCE = (contract.MESSAGES[kind]["examples"][-1 if kind == "presence" else 0] for kind in ("event", "ack", "presence"))


def changed(example, path, value):
    """A copy of example with one value replaced (or removed, or added)."""
    result = copy.deepcopy(example)
    *parents, last = path.split(".")
    target = result
    for parent in parents:
        target = target[int(parent) if isinstance(target, list) else parent]
    if value is KeyError:
        del target[last]
    else:
        target[last] = value
    return result


@pytest.mark.parametrize("read, text", [(contract.read_yaml, "a: {b: 1, c: 2, b: 1}"), (contract.read_json, '{"a": {"b": 1, "c": 2, "b": 1}}')])
def test_a_document_in_which_a_member_stands_twice_would_be_refused(read, text):
    with pytest.raises(AssertionError, match="twice"):
        read(text)


def test_openapi_document_is_valid():
    openapi_spec_validator.validate(contract.OPENAPI)


def test_asyncapi_document_is_valid():
    judge = Draft7Validator(json.loads(ASYNCAPI_SCHEMA.read_text()))
    error = best_match(judge.iter_errors(contract.ASYNCAPI))
    assert error is None, f"{list(error.absolute_path)}: {error.message}"
    broken = changed(contract.ASYNCAPI, "operations.sendAcks.action", "shout")
    assert not judge.is_valid(broken), "the judge itself must be able to refuse"


def test_asyncapi_document_refers_to_what_exists():
    def references(value):
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for each in value.values():
                yield from references(each)
        elif isinstance(value, list):
            for each in value:
                yield from references(each)
    found = set(references(contract.ASYNCAPI))
    for reference in found:
        if reference.startswith("#"):
            contract.follow(contract.ASYNCAPI, *reference.removeprefix("#/").split("/"))
        else:
            assert (contract.SCHEMAS / reference).exists(), reference
    assert {reference for reference in found if not reference.startswith("#")} == {f"./jwk-{kind}.schema.json" for kind in KINDS}


def test_asyncapi_document_uses_every_message_in_a_channel():
    used = {message["$ref"] for channel in contract.ASYNCAPI["channels"].values() for message in channel["messages"].values()}
    assert used == {f"#/components/messages/{name}" for name in contract.ASYNCAPI["components"]["messages"]}


@pytest.mark.parametrize("kind", KINDS)
def test_message_schema_is_valid_and_has_its_dataschema_uri_as_id(kind):
    schema = contract.MESSAGES[kind]
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:jwk-api:schema:jwk-{kind}:1"
    headers = contract.ASYNCAPI["components"]["schemas"][f"{kind}Headers"]
    assert headers["allOf"][1]["properties"]["ce_dataschema"]["const"] == schema["$id"]


@pytest.mark.parametrize("kind", KINDS)
def test_message_schema_fits_its_own_examples(kind):
    assert contract.MESSAGES[kind]["examples"]
    for example in contract.MESSAGES[kind]["examples"]:
        contract.judge(contract.MESSAGES[kind]["$id"], example, "example")


@pytest.mark.parametrize("kind, example, path, value", [
    ("event", EVENT, "extra", 1),
    ("event", EVENT, "jwk.extra", 1),
    ("event", EVENT, "sequence", KeyError),
    ("event", EVENT, "jwk.kid", KeyError),
    ("event", EVENT, "version", 0),
    ("event", EVENT, "epoch", "1"),
    ("event", EVENT, "sequence", 2**53 + 1),
    ("event", EVENT, "operation", "rename"),
    ("event", EVENT, "deploymentId", "1"),
    ("event", EVENT, "jwk.id", EVENT["jwk"]["id"].upper()),
    ("event", EVENT, "jwk.name", ""),
    ("event", EVENT, "jwk.name", ".."),
    ("event", EVENT, "jwk.name", "a/b"),
    ("event", EVENT, "jwk.name", "a\nb"),
    ("event", EVENT, "jwk.name", "x" * 256),
    ("event", EVENT, "jwk.type", "rsa"),
    ("event", EVENT, "jwk.type", "OCT"),
    ("event", EVENT, "jwk.type", "EC"),
    ("event", EVENT, "jwk.publicKey", None),
    ("event", EVENT, "jwk.publicKey.d", "AQAB"),
    ("event", EVENT, "jwk.publicKey.oth", []),
    ("event", EVENT, "jwk.publicKey.n", KeyError),
    ("event", EVENT, "operation", "delete"),
    ("event", EVENT, "time", "2026-01-31 12:00:00"),
    ("ack", ACK, "extra", 1),
    ("ack", ACK, "message", KeyError),
    ("ack", ACK, "status", "failed"),
    ("ack", ACK, "message", "applied, but"),
    ("ack", ACK, "eventHash", "n4bQ"),
    ("ack", ACK, "incarnation", -1),
    ("ack", ACK, "worker", "edge-1"),
    ("audit", AUDIT["change"], "extra", 1),
    ("audit", AUDIT["change"], "sequence", 0),
    ("audit", AUDIT["change"], "previous", "n4bQ"),
    ("audit", AUDIT["change"], "previous", KeyError),
    ("audit", AUDIT["change"], "type", "rename"),
    ("audit", AUDIT["change"], "eventHash", None),
    ("audit", AUDIT["change"], "actor", KeyError),
    ("audit", AUDIT["outcome"], "success", "yes"),
    ("audit", AUDIT["outcome"], "environment", KeyError),
    ("audit", AUDIT["refusal"], "status", 404),
    ("audit", AUDIT["refusal"], "count", 0),
    ("audit", AUDIT["refusal"], "path", "/" * 201),
    ("audit", AUDIT["administration"], "command", None),
    ("audit", AUDIT["stop"], "version", "1"),
    ("audit", AUDIT["signature"], "jws", "x"),
    ("audit", AUDIT["signature"], "sequence", 1),
    ("presence", PRESENCE, "extra", 1),
    ("presence", PRESENCE, "incarnation", -2),
    ("presence", PRESENCE, "ready", "yes"),
    ("presence", PRESENCE, "intervalMs", 0),
    ("presence", PRESENCE, "url", "edge-1"),
    ("presence", PRESENCE, "positions.0.offset", -1),
    ("presence", PRESENCE, "positions.0.sequence", KeyError),
    ("presence", PRESENCE, "failing", ["edge-1"]),
    ("presence", PRESENCE, "failing", PRESENCE["failing"] * 2),
])
def test_message_schema_refuses(kind, example, path, value):
    assert not contract.validator(contract.MESSAGES[kind]["$id"]).is_valid(changed(example, path, value))


OPERATIONS = [(path, method) for path, item in contract.OPENAPI["paths"].items() for method in contract.METHODS if method in item]


@pytest.mark.parametrize("path, method", OPERATIONS)
def test_every_answer_in_openapi_has_an_example_that_fits_its_schema(path, method):
    for status in contract.OPENAPI["paths"][path][method]["responses"]:
        response, steps = contract.follow(contract.OPENAPI, "paths", path, method, "responses", status)
        for media_type, content in response.get("content", {}).items():
            assert content["examples"], f"{status} {media_type}"
            for name in content["examples"]:
                example, _ = contract.follow(contract.OPENAPI, *steps, "content", media_type, "examples", name)
                contract.judge("urn:openapi" + contract.pointer(*steps, "content", media_type, "schema"), example["value"],
                               f"example {name} of {status}")


@pytest.mark.parametrize("path, method", [each for each in OPERATIONS if "requestBody" in contract.OPENAPI["paths"][each[0]][each[1]]])
def test_every_request_body_in_openapi_has_an_example_that_fits_its_schema(path, method):
    for media_type, content in contract.OPENAPI["paths"][path][method]["requestBody"]["content"].items():
        steps = ("paths", path, method, "requestBody", "content", media_type)
        assert content["examples"]
        for name in content["examples"]:
            example, _ = contract.follow(contract.OPENAPI, *steps, "examples", name)
            contract.judge("urn:openapi" + contract.pointer(*steps, "schema"), example["value"], f"example {name}")


@pytest.mark.parametrize("path, method", [each for each in OPERATIONS if each[0].startswith("/apiops/")])
def test_every_operation_in_openapi_promises_the_answers_that_all_have_in_common(path, method):
    operation = contract.OPENAPI["paths"][path][method]
    assert operation["operationId"]
    answers = set(operation["responses"])
    assert {"200", "400", "401", "500", "503"} <= answers
    assert ("403" in answers) == ("security" not in operation)
    assert ("404" in answers) == ("{projectName}" in path)
    if method != "get":
        assert "413" in answers
        parameters = {parameter["$ref"].rpartition("/")[2] for parameter in operation.get("parameters", ()) if "$ref" in parameter}
        assert ("202" in answers) == ("Prefer" in parameters)
        assert ({"409", "422"} <= answers) == ("IdempotencyKey" in parameters) == ("security" not in operation)
        assert ("415" in operation["responses"]) == ("requestBody" in operation)


def test_each_command_in_the_readme_takes_the_options_that_stand_there():
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    lines = re.findall(r"(?:^|[ |(])jwk-(api|worker)((?: [^\s|>#]+)+)", "".join(blocks).replace("\\\n", " "), re.MULTILINE)
    assert len(lines) > 20
    for program, words in lines:
        told = subprocess.run([BUILD / f"jwk-{program}", *words.split(), "--help"], capture_output=True, text=True, check=True).stdout
        assert set(re.findall(r"(?<= )--[a-z-]+", words)) <= set(re.findall(r"--[a-z-]+", told)), f"jwk-{program}{words}"
