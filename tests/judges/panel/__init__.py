"""The panel of judges: JOSE libraries of other people in several languages, and the openssl command.

Each judge answers the same requests (op and its members, in the manner of a remote call):

    make         kind                               -> jwk, a new private key
    thumbprints  url                                -> thumbprints, {kid: RFC 7638 thumbprint} of all keys of the set
    sign         jwk, alg, payload                  -> token, a compact JWS
    verify       url (or jwk), alg, token           -> payload
    encrypt      url, kid (or jwk), alg, enc, payload -> token, a compact JWE; with `sender`, a private JWK, for ECDH-1PU
    decrypt      jwk, alg, enc, token               -> payload; with `sender`
    seal         recipients (JWKs), alg, enc, payload, aad -> jwe, a text in the general serialization of RFC 7516
    open         jwk, alg, enc, jwe, aad            -> payload
    attach       jwk, alg, token, payload           -> payload, when the token fits it: a compact JWS with detached payload (RFC 7515 appendix F);
                                                       the payload is base64url of any octets
    detach       jwk, alg, payload                  -> token, such a JWS
    import       text, alg                          -> accepted, and the reason when not

With a URL the judge fetches the JWK Set with the client of its library, where the library has one, and picks the key as that does.
An operation that fails is answered with `error`."""

from .line_judge import JoseJudge, NimbusJudge, OurCryptography
from .openssl_judge import OpensslJudge
from .python_judges import JwcryptoJudge, PyjwtJudge


def seat():
    """All judges by their names."""
    judges = [JwcryptoJudge(), PyjwtJudge(), JoseJudge(), NimbusJudge(), OpensslJudge()]
    return {judge.name: judge for judge in judges}


def ours():
    """What is judged, which answers seal, open, sign and verify too, and more: see ours.c."""
    return OurCryptography()
