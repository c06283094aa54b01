"""Keys made by an independent JOSE library."""

import functools
import json

from jwcrypto import jwk

KINDS = {
    "RSA": {"kty": "RSA", "size": 2048},
    "EC": {"kty": "EC", "crv": "P-256"},
    "OKP": {"kty": "OKP", "crv": "Ed25519"},
    "OCT": {"kty": "oct", "size": 256},
}
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}


def new_key(kind="EC", **members):
    """A new private (or symmetric) key as a dictionary."""
    return json.loads(jwk.JWK.generate(**KINDS[kind], **members).export())


@functools.cache
def _rsa():
    return json.dumps(new_key("RSA"))


def any_rsa():
    """An RSA key that is made once: making one takes long."""
    return json.loads(_rsa())


def public_half(key):
    return {name: value for name, value in key.items() if name not in PRIVATE_MEMBERS}


def thumbprint(key):
    return jwk.JWK(**key).thumbprint()
