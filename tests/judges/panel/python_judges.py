"""Judges in this very process: jwcrypto, and PyJWT with its client of JWK Sets."""

import functools
import json
import urllib.request

import jwt
from jwcrypto import jwe, jwk, jws
from jwcrypto.common import base64url_decode
from jwcrypto.jwe import JWE  # where a member of a request has the module's name
from jwt.api_jws import PyJWS

JWCRYPTO_KINDS = {
    "RSA-2048": {"kty": "RSA", "size": 2048}, "RSA-3072": {"kty": "RSA", "size": 3072}, "RSA-4096": {"kty": "RSA", "size": 4096},
    "P-256": {"kty": "EC", "crv": "P-256"}, "P-384": {"kty": "EC", "crv": "P-384"}, "P-521": {"kty": "EC", "crv": "P-521"},
    "secp256k1": {"kty": "EC", "crv": "secp256k1"}, "Ed25519": {"kty": "OKP", "crv": "Ed25519"}, "X25519": {"kty": "OKP", "crv": "X25519"},
}


class PythonJudge:
    def answer(self, request):
        try:
            return getattr(self, request["op"])(**{name: value for name, value in request.items() if name != "op"})
        except Exception as error:  # pylint: disable=broad-except  # whatever a library throws is its answer
            return {"error": f"{type(error).__name__}: {error}"}

    def answer_all(self, requests):
        return [self.answer(request) for request in requests]

    def close(self):
        pass


@functools.cache
def jwcrypto_key(text):
    return jwk.JWK.from_json(text)


class JwcryptoJudge(PythonJudge):
    """jwcrypto has no client: the set is fetched with urllib, and read and picked from by the library."""

    name = "jwcrypto"

    def __init__(self):
        self.sets = {}

    def set(self, url):
        if url not in self.sets:
            with urllib.request.urlopen(url) as answer:
                self.sets[url] = jwk.JWKSet.from_json(answer.read())
        return self.sets[url]

    def served(self, url, kid):
        key = self.set(url).get_key(kid)
        assert key is not None, f"the served set has not one key with the kid {kid}"
        return key

    def make(self, kind):
        return {"jwk": json.loads(jwk.JWK.generate(**JWCRYPTO_KINDS[kind]).export())}

    def thumbprints(self, url):
        return {"thumbprints": {key.get("kid"): key.thumbprint() for key in self.set(url)["keys"]}}

    def sign(self, jwk, alg, payload):
        token = jws.JWS(payload.encode())
        token.allowed_algs = [alg]
        token.add_signature(jwcrypto_key(json.dumps(jwk)), protected=json.dumps({"alg": alg, **({"kid": jwk["kid"]} if "kid" in jwk else {})}))
        return {"token": token.serialize(compact=True)}

    def verify(self, alg, token, url=None, jwk=None):
        object_ = jws.JWS()
        object_.allowed_algs = [alg]
        object_.deserialize(token)
        object_.verify(self.served(url, object_.jose_header["kid"]) if url else jwcrypto_key(json.dumps(jwk)))
        return {"payload": object_.payload.decode()}

    def encrypt(self, alg, enc, payload, url=None, kid=None, jwk=None):
        key = self.served(url, kid) if url else jwcrypto_key(json.dumps(jwk))
        header = {"alg": alg, "enc": enc, **({"kid": kid} if kid else {})}
        return {"token": jwe.JWE(payload.encode(), json.dumps(header), algs=[alg, enc], recipient=key).serialize(compact=True)}

    def decrypt(self, jwk, alg, enc, token):
        object_ = jwe.JWE(algs=[alg, enc])
        object_.deserialize(token, jwcrypto_key(json.dumps(jwk)))
        return {"payload": object_.payload.decode()}

    def seal(self, recipients, alg, enc, payload, aad):
        object_ = jwe.JWE(payload.encode(), protected=json.dumps({"enc": enc}), aad=aad.encode(), algs=[alg, enc])
        for members in recipients:
            object_.add_recipient(jwcrypto_key(json.dumps(members)), header=json.dumps({"alg": alg, "kid": members["kid"]}))
        made = json.loads(object_.serialize())
        if "recipients" not in made:  # for one recipient it chooses the flattened serialization, section 7.2.2
            made["recipients"] = [{name: made.pop(name) for name in ("header", "encrypted_key")}]
        return {"jwe": json.dumps(made)}

    def open(self, jwk, alg, enc, jwe, aad):
        object_ = JWE(algs=[alg, enc])
        object_.deserialize(jwe, jwcrypto_key(json.dumps(jwk)))
        assert object_.objects["aad"] == aad.encode()
        return {"payload": object_.payload.decode()}

    def attach(self, jwk, alg, token, payload):
        object_ = jws.JWS()
        object_.allowed_algs = [alg]
        object_.deserialize(token)
        object_.verify(jwcrypto_key(json.dumps(jwk)), detached_payload=base64url_decode(payload))
        return {"payload": payload}

    def detach(self, jwk, alg, payload):
        token = jws.JWS(base64url_decode(payload))
        token.allowed_algs = [alg]
        token.add_signature(jwcrypto_key(json.dumps(jwk)), protected=json.dumps({"alg": alg, "kid": jwk["kid"]}))
        token.detach_payload()
        return {"token": token.serialize(compact=True)}

    def import_(self, text, **_):
        try:
            key = jwk.JWK.from_json(text)
            if key["kty"] != "oct":
                key.export_to_pem()  # members are read one by one, and become a key only when it is used
                if key.has_private:
                    key.export_to_pem(private_key=True, password=None)
            return {"accepted": True}
        except Exception as error:  # pylint: disable=broad-except
            return {"accepted": False, "reason": f"{type(error).__name__}: {error}"}


class PyjwtJudge(PythonJudge):
    """PyJWT: signatures only, keys of a set by PyJWKClient."""

    name = "pyjwt"

    def __init__(self):
        self.clients, self.keys = {}, {}

    def client(self, url):
        if url not in self.clients:
            self.clients[url] = jwt.PyJWKClient(url, cache_keys=True, max_cached_keys=1000, lifespan=3600)
        return self.clients[url]

    def key(self, members, alg):
        name = json.dumps(members)  # the same key for each algorithm of its kind
        if name not in self.keys:
            self.keys[name] = jwt.PyJWK(members, alg).key
        return self.keys[name]

    def sign(self, jwk, alg, payload):
        return {"token": PyJWS().encode(payload.encode(), self.key(jwk, alg), alg, headers={"typ": None, **({"kid": jwk["kid"]} if "kid" in jwk else {})})}

    def verify(self, alg, token, url=None, jwk=None):
        key = self.client(url).get_signing_key_from_jwt(token).key if url else self.key(jwk, alg)
        return {"payload": PyJWS().decode(token, key, [alg]).decode()}

    def import_(self, text, alg):
        try:
            jwt.PyJWK(json.loads(text), alg)
            return {"accepted": True}
        except Exception as error:  # pylint: disable=broad-except
            return {"accepted": False, "reason": f"{type(error).__name__}: {error}"}


# "import" is no name for a method.
for _judge in (JwcryptoJudge, PyjwtJudge):
    setattr(_judge, "import", _judge.import_)
