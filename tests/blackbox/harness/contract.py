"""Judges answers by schemas/openapi.yaml and messages by schemas/asyncapi.yaml and the JSON Schemas that it refers to."""

import json
import re

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from .program import REPOSITORY

SCHEMAS = REPOSITORY / "schemas"


def unique(pairs):
    """An object of these members. One that stands twice means something else to each reader."""
    members = dict(pairs)
    assert len(members) == len(pairs), f"a member stands twice among {[name for name, _ in pairs]}"
    return members


class UniqueLoader(yaml.SafeLoader):
    pass


UniqueLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG,
                             lambda loader, node: unique(loader.construct_pairs(node, deep=True)))


def read_yaml(text):
    return yaml.load(text, UniqueLoader)


def read_json(text):
    return json.loads(text, object_pairs_hook=unique)


OPENAPI = read_yaml((SCHEMAS / "openapi.yaml").read_text())
ASYNCAPI = read_yaml((SCHEMAS / "asyncapi.yaml").read_text())
MESSAGES = {kind: read_json((SCHEMAS / f"jwk-{kind}.schema.json").read_text()) for kind in ("event", "ack", "presence", "audit")}
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

REGISTRY = Registry().with_resources(
    [("urn:openapi", Resource(OPENAPI, DRAFT202012)), ("urn:asyncapi", Resource(ASYNCAPI, DRAFT202012))]
    + [(schema["$id"], Resource(schema, DRAFT202012)) for schema in MESSAGES.values()])


def validator(reference):
    return Draft202012Validator({"$ref": reference}, registry=REGISTRY, format_checker=Draft202012Validator.FORMAT_CHECKER)


def judge(reference, value, what):
    """Fails with the deepest reason when value does not fit the schema."""
    error = best_match(validator(reference).iter_errors(value))
    assert error is None, f"{what} does not fit {reference}: at {list(error.absolute_path)}: {error.message}\n{value!r}"


def pointer(*steps):
    return "#/" + "/".join(str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def follow(document, *steps):
    """The object at these steps with references followed on the way, and the steps at which it really stands."""
    steps, value, walked = list(steps), document, []
    while True:
        while isinstance(value, dict) and "$ref" in value:
            target = [part.replace("~1", "/").replace("~0", "~") for part in value["$ref"].removeprefix("#/").split("/")]
            value, walked = document, []
            steps = target + steps
            break
        else:
            if not steps:
                return value, walked
        step = steps.pop(0)
        value = value[step]
        walked.append(step)


def match_path(path):
    """The path template of the document that a requested path belongs to, with or without its last slash."""
    path = path.partition("?")[0]
    for template in OPENAPI["paths"]:
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template.rstrip("/"))) + "/?"
        if re.fullmatch(pattern, path):
            return template
    return None


# Answers that do not depend on the path, by status.
ANYWHERE = {400: "BadRequest", 401: "Unauthorized", 404: "NotFound", 405: "MethodNotAllowed", 413: "PayloadTooLarge",
            429: "TooManyRequests", 431: "HeaderFieldsTooLarge", 500: "InternalError", 503: "ServiceUnavailable"}


def judge_answer(method, path, answer):
    """Fails when an answer of jwk-api is not one that the OpenAPI document promises for this method, path and status."""
    what = f"answer {answer.status} to {method} {path}"
    template = match_path(path)
    item = OPENAPI["paths"].get(template, {})
    operation = item.get("get" if method == "HEAD" else method.lower())
    if template and operation is None:
        assert answer.status in (405, 401, 431), f"{what}: the path has no such method"
        expected = sorted(name.upper() for name in item if name in METHODS)
        if answer.status == 405:
            allowed = sorted(set(answer.headers.get("Allow", "").split(", ")) - {"HEAD", "OPTIONS"})
            assert allowed == expected, f"{what}: Allow says {allowed}, the document {expected}"
    if operation and str(answer.status) in operation["responses"]:
        steps = ("paths", template, "get" if method == "HEAD" else method.lower(), "responses", str(answer.status))
    else:
        assert answer.status in ANYWHERE, f"{what}: the document does not promise this status\n{answer.body!r}"
        steps = ("components", "responses", ANYWHERE[answer.status])
    response, steps = follow(OPENAPI, *steps)
    for name in response.get("headers", {}):
        header, where = follow(OPENAPI, *steps, "headers", name)
        value = answer.headers.get(name)
        assert value is not None or not header.get("required"), f"{what}: header {name} is missing"
        if value is not None:
            judge("urn:openapi" + pointer(*where, "schema"), value, f"{what}: header {name}")
    if method == "HEAD":
        assert answer.body == b"", f"{what}: a HEAD answer has a body"
        return
    content = response.get("content")
    if content is None:
        return
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    assert media_type in content, f"{what}: Content-Type is {media_type!r}, promised: {list(content)}"
    if media_type == "application/json":
        judge("urn:openapi" + pointer(*steps, "content", media_type, "schema"), answer.json, what)


KIND_OF_TYPE = {"jwk.created.v1": "event", "jwk.updated.v1": "event", "jwk.deleted.v1": "event", "jwk.redeployed.v1": "event",
                "jwk.ack.v1": "ack", "jwk.worker.hello.v1": "presence", "jwk.worker.heartbeat.v1": "presence",
                "jwk.worker.goodbye.v1": "presence", "jwk.audit.v1": "audit"}


def judge_message(topic, key, headers, value):
    """Fails when a record is not one that the AsyncAPI document promises for its topic; returns the value as an object, for the
    audit trail as a list of them."""
    what = f"record {key!r} of {topic} with {headers}"
    channel = topic.rpartition(".")[2]
    kind = {"events": "event", "acks": "ack", "workers": "presence", "audit": "audit"}[channel]
    if value is None:
        assert kind == "event", f"{what}: a tombstone is for events only"
        return None
    assert KIND_OF_TYPE.get(headers.get("ce_type")) == kind, f"{what}: ce_type is of another topic"
    judge(f"urn:asyncapi#/components/schemas/{kind}Headers", headers, what)
    if kind == "audit":
        lines = [json.loads(line) for line in value.splitlines()]
        for line in lines:
            judge(MESSAGES[kind]["$id"], line, what)
        assert key == "" and "jws" in lines[-1] and not any("jws" in line for line in lines[:-1]), what
        return lines
    value = json.loads(value)
    judge(MESSAGES[kind]["$id"], value, what)
    if kind == "event":
        assert key == value["jwk"]["id"], what
        assert headers["ce_type"] == {"create": "jwk.created.v1", "update": "jwk.updated.v1", "delete": "jwk.deleted.v1",
                                      "redeploy": "jwk.redeployed.v1"}[value["operation"]], what
    elif kind == "ack":
        assert key == value["deploymentId"], what
    else:
        assert key == f"{value['environment']}/{value['replica']}", what
        assert (value["incarnation"] == -1) == (headers["ce_type"] == "jwk.worker.hello.v1"), what
    return value
