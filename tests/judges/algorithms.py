"""Kinds of keys, what they are for, and which judge does not know what."""

EC_KINDS = ("P-256", "P-384", "P-521")
KINDS = ("RSA-2048", "RSA-3072", "RSA-4096", *EC_KINDS, "secp256k1", "Ed25519", "X25519")  # all but oct

RSA_SIGNATURE = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
RSA_ENCRYPTION = ("RSA1_5", "RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512")
CURVE_SIGNATURE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "secp256k1": "ES256K"}
WRAPS = ("", "+A128KW", "+A192KW", "+A256KW")
AGREEMENT = tuple(f"ECDH-ES{wrap}" for wrap in WRAPS)
AUTHENTICATED = tuple(f"ECDH-1PU{wrap}" for wrap in WRAPS)
HMAC = ("HS256", "HS384", "HS512")
OCT_ENCRYPTION = ("A128KW", "A192KW", "A256KW", "A128GCMKW", "A192GCMKW", "A256GCMKW", "dir", "PBES2-HS256+A128KW", "PBES2-HS384+A192KW",
                  "PBES2-HS512+A256KW")


def signature_algorithms(kind):
    if kind.startswith("RSA"):
        return RSA_SIGNATURE
    if kind == "Ed25519":
        return ("EdDSA", "Ed25519")
    return (CURVE_SIGNATURE[kind],) if kind in CURVE_SIGNATURE else ()


def encryption_algorithms(kind):
    if kind.startswith("RSA"):
        return RSA_ENCRYPTION
    return AGREEMENT + AUTHENTICATED if kind in (*EC_KINDS, "X25519") else ()


def is_signature(algorithm):
    return algorithm in RSA_SIGNATURE + HMAC + tuple(CURVE_SIGNATURE.values()) + ("EdDSA", "Ed25519")


def content_encryption(algorithm, octets=None):
    """What to encrypt with. ECDH-1PU with a wrapped key asks for AES-CBC with HMAC; a key for `dir` is the content's own."""
    if algorithm.startswith("ECDH-1PU"):
        return "A256CBC-HS512"
    return {16: "A128GCM", 24: "A192GCM", 32: "A256GCM"}[octets] if algorithm == "dir" else "A128GCM"


# What a judge does not know. Each row is held to be true: a judge that can do by now what its row denies fails the tests.
NOT_KNOWN = (
    ("pyjwt", RSA_ENCRYPTION + AGREEMENT + OCT_ENCRYPTION, "PyJWT has no JWE"),
    ("pyjwt", ("Ed25519",), "PyJWT has the polymorphic EdDSA only, not yet the name of RFC 9864"),
    ("jwcrypto", ("RSA-OAEP-384", "RSA-OAEP-512"), "jwcrypto has RSA-OAEP with SHA-1 and SHA-256 only"),
    ("jose", ("ES256K",), "jose builds on WebCrypto, which has no secp256k1"),
    ("jose", ("RSA1_5",), "jose has removed RSA1_5, as its padding invites oracles"),
    ("openssl", OCT_ENCRYPTION, "the openssl command has no key wrapping, and no AES-GCM"),
    *((judge, AUTHENTICATED, "of these judges Nimbus alone has ECDH-1PU, an Internet-Draft") for judge in ("jwcrypto", "pyjwt", "jose", "openssl")),
)
# What a judge does in its own way, so that no other can read it nor be read by it. Held to be true as well.
OWN_WAY = (
    ("nimbus", tuple(algorithm for algorithm in OCT_ENCRYPTION if algorithm.startswith("PBES2")),
     "Nimbus takes the octets of a password for UTF-8 text before it derives a key from them, and generated ones are no text"),
)
# Kinds of which a judge makes no key.
MAKES_NOT = (
    ("pyjwt", KINDS, "PyJWT makes no keys"),
    ("jose", ("secp256k1",), "jose builds on WebCrypto, which has no secp256k1"),
)


def not_known(judge, algorithm):
    """The reason, or None."""
    return next((reason for name, algorithms, reason in NOT_KNOWN if name == judge and algorithm in algorithms), None)


def own_way(writer, reader, algorithm):
    """The reason why these two can not read each other, or None."""
    return next((reason for name, algorithms, reason in OWN_WAY if name in (writer, reader) and writer != reader and algorithm in algorithms), None)


def makes_not(judge, kind):
    return next((reason for name, kinds, reason in MAKES_NOT if name == judge and kind in kinds), None)
