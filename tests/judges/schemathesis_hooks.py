"""What Schemathesis checks beside its own checks."""

import re

import schemathesis
from schemathesis.generation import GenerationMode

# Why a request that fits its schema may be refused: for the state that it meets, or for what stands in a text that JSON Schema can not read.
STATE = (
    r"\(name: .*\) is not found!( Try create operation\.)?",
    r"\(id: .*\) is not found!",
    r"is already exist!",
    r"JWKs? (is|are) made from it",
    r"cursor is not one that this list has given!",
    r"is not in the state that If-Match names!",
    r"The state is not the one that was made a condition",
    r" keys that are still served beside its present one",
    r"Idempotency-Key was used for another request already",
    r"^Client (id|secret) is required!$",  # which may stand in a header instead: that the form need not have it is all that a schema can say
)
CONTENT = (
    r"^Environment \(name: .*\) is named twice!$",
    r"^(Environment \(name: .*\): )?(Public key|Private key|Certificate|Keystore) is (not (a )?(PEM|PKCS#12)|truncated or damaged)",
    r"^URL (is not valid!|could not be fetched: )",
    r"^JWK string can not be used: (A JWK or a JWK Set must be a JSON object|Not valid JSON at line)",
    r"(does not suit (the key|an? )|, but the key is for |needs a key of |needs a size of )",  # which algorithm suits which key
    r"^Key type can not be changed without its keys!$",
    r" is not an ISO 8601 time such as ",  # its pattern knows no calendar
)


@schemathesis.check
def refuses_valid_requests_for_their_state_alone(ctx, response, case):
    """The counterpart of positive_data_acceptance for the statuses that it lets pass."""
    if response.status_code not in (400, 412, 422) or case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    sentence = response.json()["error_description"]
    assert any(re.search(pattern, sentence, re.DOTALL) for pattern in STATE + CONTENT), f"a request that fits its schema was refused: {sentence}"
