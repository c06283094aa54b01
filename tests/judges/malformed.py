"""JWKs with one thing wrong. What is wrong is written here; whether it is wrong the libraries say."""

import base64
import json

from cryptography.hazmat.primitives.asymmetric import rsa
from jwcrypto import jwk

from harness import sources
from harness.keys import public_half as public
from panel.openssl_judge import b64, unb64

# Orders and primes of the curves (SEC 2): a coordinate is below the prime, a private key from 1 to the order - 1.
P256_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# The algorithm that a library is told, where it wants one.
BASES = {"RSA": "RS256", "EC": "ES256", "P-384": "ES384", "P-521": "ES512", "secp256k1": "ES256K", "Ed25519": "EdDSA", "X25519": "ECDH-ES",
         "oct": "HS256"}
BINARY = {"RSA": ("n", "e", "d", "p", "q", "dp", "dq", "qi"), "oct": ("k",), "OKP": ("x", "d"), "EC": ("x", "y", "d")}
REQUIRED = {"RSA": ("kty", "n", "e"), "oct": ("kty", "k"), "OKP": ("kty", "crv", "x"), "EC": ("kty", "crv", "x", "y")}
NO_STRINGS = {"null": None, "a number": 1, "a boolean": True, "an array": ["AQAB"], "an object": {"value": "AQAB"}}


def new(kind):
    parameters = {"RSA": {"kty": "RSA", "size": 2048}, "oct": {"kty": "oct", "size": 256}, "EC": {"kty": "EC", "crv": "P-256"}}
    parameters = parameters.get(kind) or {"kty": "OKP" if kind.endswith("25519") else "EC", "crv": kind}
    return json.loads(jwk.JWK.generate(**parameters).export())


def altered(key, **members):
    """The key with other members; one that is ... is left out."""
    return {name: value for name, value in {**key, **members}.items() if value is not ...}


def number(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8 or 1, "big"))


def int_of(text):
    return int.from_bytes(unb64(text), "big")


def wrong_members(key):
    """What can be wrong with any key."""
    kty = key["kty"]
    for member in REQUIRED[kty]:
        yield f"{member} missing", altered(key, **{member: ...})
        yield f"{member} empty", altered(key, **{member: ""})
        for what, value in NO_STRINGS.items():
            yield f"{member} {what}", altered(key, **{member: value})
    yield "kty in another case", altered(key, kty=kty.swapcase())
    yield "kty unknown", altered(key, kty="DSA")
    yield "kty of another type", altered(key, kty="oct" if kty == "RSA" else "RSA")
    for member in BINARY[kty]:
        value = key[member]
        yield f"{member} with a blank", altered(key, **{member: f"{value[:4]} {value[4:]}"})
        yield f"{member} with characters of no alphabet", altered(key, **{member: f"!{value[1:]}"})
        yield f"{member} with a letter outside ASCII", altered(key, **{member: f"é{value[1:]}"})
        yield f"{member} of an impossible length", altered(key, **{member: f"{value[:len(value) // 4 * 4]}A"})
        if kty != "oct" and member != "e":
            yield f"{member} cut short", altered(key, **{member: b64(unb64(value)[:-4])})
            yield f"{member} too long", altered(key, **{member: b64(unb64(value) + bytes(4))})
    if "d" in key:
        yield "d empty", altered(key, d="")
        for what, value in NO_STRINGS.items():
            yield f"d {what}", altered(key, d=value)


def wrong_curve_keys(key, other):
    size = len(unb64(key["x"]))
    yield "coordinates swapped", altered(key, x=key["y"], y=key["x"])
    yield "public half, coordinates swapped", altered(public(key), x=key["y"], y=key["x"])
    yield "public half, one bit of y flipped", altered(public(key), y=number(int_of(key["y"]) ^ 1, size))
    yield "public half, the point 0, 0", altered(public(key), x=number(0, size), y=number(0, size))
    yield "public half, y of another key", altered(public(key), y=other["y"])
    yield "d of another key", altered(key, d=other["d"])
    yield "d zero", altered(key, d=number(0, size))
    yield "d all ones", altered(key, d=number(2**(8 * size) - 1, size))
    yield "d negative in two's complement of the other size", altered(key, d=number(2**(8 * size + 7), size + 1))
    yield "curve of another size", altered(key, crv="P-256" if key["crv"] == "P-384" else "P-384")
    yield "curve in lower case", altered(key, crv=key["crv"].lower() if key["crv"] != "secp256k1" else "SECP256K1")
    yield "curve unknown", altered(key, crv="P-257")
    yield "curve of OKP", altered(key, crv="Ed25519")
    if key["crv"] == "P-256":
        yield "curve secp256k1 in its place", altered(public(key), crv="secp256k1")
        yield "curve by its name in SEC 2", altered(key, crv="secp256r1")
        yield "x beyond the prime", altered(public(key), x=number(P256_PRIME + 1, 32))
        yield "d the order", altered(key, d=number(P256_ORDER, 32))
        yield "y of the opposite point", altered(key, y=number(P256_PRIME - int_of(key["y"]), 32))


def wrong_okp_keys(key, other):
    yield "x of 31 octets", altered(public(key), x=b64(unb64(key["x"])[:31]))
    yield "x of 33 octets", altered(public(key), x=b64(unb64(key["x"]) + b"\0"))
    yield "x of no octet", altered(public(key), x="")
    yield "x of another key", altered(key, x=other["x"])
    yield "d of 31 octets", altered(key, d=b64(unb64(key["d"])[:31]))
    yield "d of 33 octets", altered(key, d=b64(unb64(key["d"]) + b"\0"))
    yield "d of 64 octets, the seed with x", altered(key, d=b64(unb64(key["d"]) + unb64(key["x"])))
    yield "curve of EC", altered(key, crv="P-256")
    yield "curve of 57 octets", altered(key, crv="Ed448" if key["crv"] == "Ed25519" else "X448")
    yield "curve in lower case", altered(key, crv=key["crv"].lower())
    if key["crv"] == "Ed25519":
        yield "x of no point of the curve", altered(public(key), x=b64(bytes([2]) + bytes(31)))
        yield "x the neutral element", altered(public(key), x=b64(bytes([1]) + bytes(31)))
        yield "x zero, of small order", altered(public(key), x=b64(bytes(32)))
    else:
        yield "x zero, of small order", altered(public(key), x=b64(bytes(32)))
        yield "x one, of small order", altered(public(key), x=b64(bytes([1]) + bytes(31)))


def wrong_rsa_keys(key, other):
    n, p, q = int_of(key["n"]), int_of(key["p"]), int_of(key["q"])
    small = rsa.generate_private_key(65537, 1024).private_numbers()
    for member in ("d", "p", "q", "dp", "dq", "qi"):
        yield f"{member} of another key", altered(key, **{member: other[member]})
        yield f"{member} zero", altered(key, **{member: "AA"})
    for member in ("p", "q", "dp", "dq", "qi"):
        yield f"{member} missing alone", altered(key, **{member: ...})
        for what, value in NO_STRINGS.items():
            yield f"{member} {what}", altered(key, **{member: value})
    yield "d missing and the primes there", altered(key, d=...)
    yield "d even", altered(key, d=number(int_of(key["d"]) & ~1))
    yield "primes swapped and the rest not", altered(key, p=key["q"], q=key["p"])
    yield "primes 1 and n", altered(key, p="AQ", q=key["n"])
    yield "both primes the same", altered(key, q=key["p"])
    yield "oth, of more primes, of the wrong form", altered(key, oth="AQAB")
    yield "oth, empty", altered(key, oth=[])
    yield "oth, of a prime that is none", altered(key, oth=[{"r": "AQAB", "d": "AQAB", "t": "AQAB"}])
    yield "modulus of another key", altered(key, n=other["n"])
    yield "modulus even", altered(public(key), n=number(n & ~1))
    yield "modulus zero", altered(public(key), n="AA")
    yield "modulus one", altered(public(key), n="AQ")
    yield "modulus of 64 bits", altered(public(key), n=number(2**63 + 13))
    yield "modulus of 1024 bits", {"kty": "RSA", "n": number(small.public_numbers.n), "e": "AQAB"}
    yield "modulus of 1024 bits, private", {"kty": "RSA", "n": number(small.public_numbers.n), "e": "AQAB", "d": number(small.d), "p": number(small.p),
                                            "q": number(small.q), "dp": number(small.dmp1), "dq": number(small.dmq1), "qi": number(small.iqmp)}
    yield "exponent zero", altered(public(key), e="AA")
    yield "exponent one", altered(public(key), e="AQ")
    yield "exponent two", altered(public(key), e="Ag")
    yield "exponent even", altered(public(key), e=number(65536))
    yield "exponent beyond the modulus", altered(public(key), e=number(n + 2))
    yield "exponent the modulus", altered(public(key), e=key["n"])
    yield "exponent of the private half another", altered(key, e="Aw")
    assert p * q == n


def wrong_attributes(key):
    """What can be wrong beside the material."""
    key = altered(public(key), kid=...)
    certificate = base64.b64encode(sources.certificate(sources.ec_key()).public_bytes(sources.serialization.Encoding.DER)).decode()
    for member in ("use", "alg", "kid", "x5u", "x5t", "x5t#S256"):
        for what, value in NO_STRINGS.items():
            if value is not None:
                yield f"{member} {what}", altered(key, **{member: value})
    yield "use empty", altered(key, use="")
    yield "use unknown", altered(key, use="signature")
    yield "key_ops a string", altered(key, key_ops="verify")
    yield "key_ops an object", altered(key, key_ops={"verify": True})
    yield "key_ops of numbers", altered(key, key_ops=[1])
    yield "key_ops twice the same", altered(key, key_ops=["verify", "verify"])
    yield "key_ops against use", altered(key, use="enc", key_ops=["verify"])
    yield "key_ops of a private half that is not there", altered(key, key_ops=["sign"])
    yield "alg of another type", altered(key, alg="RS256")
    yield "alg of another curve", altered(key, alg="ES384")
    yield "alg against use", altered(key, use="enc", alg="ES256")
    yield "alg unknown", altered(key, alg="ES1024")
    yield "x5c a string", altered(key, x5c=certificate)
    yield "x5c of numbers", altered(key, x5c=[1])
    yield "x5c of no base64", altered(key, x5c=["***"])
    yield "x5c of no certificate", altered(key, x5c=["AQAB"])
    yield "x5c of another key", altered(key, x5c=[certificate])
    yield "x5t of no base64url", altered(key, x5t="***")
    yield "x5t#S256 of no base64url", altered(key, **{"x5t#S256": "***"})
    yield "x5t#S256 of another length", altered(key, **{"x5t#S256": "AQAB"})
    yield "exp a string", altered(key, exp="tomorrow")
    yield "nbf a string", altered(key, nbf="today")
    yield "exp an array", altered(key, exp=[1])
    yield "iat a string", altered(key, iat="today")


def wrong_texts(key):
    """What is no JSON object, or not one JSON object."""
    text = json.dumps(public(key))
    yield "nothing", ""
    yield "blanks", "  "
    yield "an empty object", "{}"
    yield "null", "null"
    yield "a string", json.dumps(text)
    yield "a number", "1"
    yield "an array", f"[{text}]"
    yield "cut short", text[:-1]
    yield "cut in a string", text[:40]
    yield "a brace too many", text + "}"
    yield "a second object behind it", text + text
    yield "letters behind it", text + "x"
    yield "a comma too many", text[:-1] + ",}"
    yield "single quotes", text.replace('"', "'")
    yield "names without quotes", text.replace('"kty"', "kty")
    yield "a comment", "/* key */" + text
    yield "a raw control character in a string", text.replace('"kty": "EC"', '"kty": "E\x01C"')
    yield "NaN", text[:-1] + ', "exp": NaN}'
    yield "a number with a leading zero", text[:-1] + ', "exp": 01}'
    yield "a bad escape", text.replace("kty", "k\\qty")
    yield "PEM", sources.public_pem(sources.ec_key()).decode()
    yield "kty twice", '{"kty": "RSA", ' + text[1:]
    yield "x twice", text[:-1] + f', "x": "{key["y"]}"}}'


def all_of_them():
    """{name: (base, text)}, and {base: key}, the sound keys that they were made from."""
    keys = {base: new(base) for base in BASES}
    result = {}
    for base, key in keys.items():
        makers = [wrong_members(key)]
        if key["kty"] == "EC":
            makers.append(wrong_curve_keys(key, new(base)))
        elif key["kty"] == "OKP":
            makers.append(wrong_okp_keys(key, new(base)))
        elif key["kty"] == "RSA":
            makers.append(wrong_rsa_keys(key, new(base)))
        if base == "EC":
            makers += [wrong_attributes(key), wrong_texts(key)]
        for maker in makers:
            for what, value in maker:
                result[f"{base}: {what}"] = (base, value if isinstance(value, str) else json.dumps(value))
    return result, keys


# Oddities that are allowed: all take them, and we do.
def allowed(keys):
    key = keys["EC"]
    yield "unknown members", altered(key, **{"https://example.com/tenant": {"a": [1, None]}, "ext": True})
    yield "members in another order", dict(reversed(key.items()))
    yield "key_ops", altered(key, key_ops=["sign"])
    yield "use and alg", altered(key, use="sig", alg="ES256")
    yield "kid with letters of the world", altered(key, kid="Schlüssel 1 / 鍵")
