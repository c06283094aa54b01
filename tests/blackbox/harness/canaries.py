"""Hunts for secrets: in whatever form one may stand in a file, a record or an answer, wherever it is not allowed to.

Needles are found by grep, which looks for thousands of them at once. A secret is looked for by its two ends, so that one that was
cut off or split over two pages is found too."""

import base64
import dataclasses
import json
import re
import subprocess
import urllib.parse

PIECE = 18  # bytes of an end of a secret: far more than anything has in common with anything else by chance
LEAST = 8  # below this a piece would be found everywhere


def unpadded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def ends(secret):
    """What to look for in place of the whole; of text they are text."""
    try:
        text = secret.decode()
        return {text[:PIECE].encode(), text[-PIECE:].encode()}
    except UnicodeDecodeError:
        return {secret[:PIECE], secret[-PIECE:]}


def inner_base64(piece, encode):
    """The three ways in which bytes stand within the base64 of more bytes: only the characters that they alone decide."""
    found = set()
    for before in range(3):
        encoded = encode(b"\0" * before + piece)
        found.add(encoded[-(-before * 8 // 6):(before + len(piece)) * 8 // 6])
    return found


def json_text(piece, ascii_only):
    return json.dumps(piece.decode(), ensure_ascii=ascii_only)[1:-1].encode()


def escaped(piece):
    """Percent-encoding in both cases, of every byte and of those alone that need it; JSON's escapes, likewise, and twice."""
    everything = "".join(f"%{byte:02x}" for byte in piece)
    found = {everything.encode(), re.sub("%..", lambda match: match.group().upper(), everything).encode()}
    for safe in ("", "/", "/:@!$&'()*+,;="):
        quoted = urllib.parse.quote(piece, safe=safe)
        found |= {quoted.encode(), re.sub("%..", lambda match: match.group().lower(), quoted).encode()}
    found.add(urllib.parse.quote_plus(piece).encode())
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return found
    for ascii_only in (False, True):
        once = json_text(piece, ascii_only)
        found |= {once, once.replace(b"/", b"\\/"), json_text(once, ascii_only)}
    units = text.encode("utf-16-be")
    for form in ("{:02x}", "{:02X}"):
        found.add("".join(f"\\u{form.format(high)}{form.format(low)}" for high, low in zip(units[::2], units[1::2])).encode())
    return found


FORMS = {
    "raw": lambda piece: {piece},
    "base64": lambda piece: inner_base64(piece, base64.b64encode),
    "base64url": lambda piece: inner_base64(piece, unpadded),
    "hex": lambda piece: {piece.hex().encode(), piece.hex().upper().encode(), piece.hex(":").upper().encode(), piece.hex(" ").encode()},
    "escaped": escaped,
}


@dataclasses.dataclass(frozen=True)
class Canary:
    """A secret. What came in as base64url is one as text and as the bytes that it stands for."""

    name: str
    text: bytes
    octets: bytes = b""

    def needles(self):
        """{form: needles}; what is the same in several forms (plain text needs no escapes) is of the first."""
        found, known = {}, set()
        for form, make in FORMS.items():
            for secret in filter(None, (self.text, self.octets)):
                for end in ends(secret):
                    found.setdefault(form, set()).update(make(end) - known)
            known |= found[form]
        return found


def lines_of(needle):
    """A needle as grep, which reads lines, can look for it: its longest line."""
    return max(needle.split(b"\n"), key=len)


def squeezed(content):
    """Without what wraps long text, so that text that was wrapped (PEM, also within JSON or a form) is found as it was before."""
    return re.sub(rb"\s+|\\+[nr]|%0[AaDd]", b"", content)


@dataclasses.dataclass(frozen=True)
class Sighting:
    canary: str
    form: str
    place: str


class Hunt:
    def __init__(self, directory):
        self.directory = directory
        self.canaries, self.places, self.squeezed_bytes = {}, {}, 0

    # ---- what is hunted ----

    def add(self, name, secret):
        text = secret.encode() if isinstance(secret, str) else secret
        assert len(text) >= LEAST and name not in self.canaries, name
        self.canaries[name] = Canary(name, text)
        return secret

    def add_encoded(self, name, text):
        """One that is base64url of the real secret."""
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        assert len(octets) >= LEAST and name not in self.canaries, name
        self.canaries[name] = Canary(name, text.encode(), octets)
        return text

    def add_token(self, name, token):
        """Four characters that tell what it is, and base64url."""
        octets = base64.urlsafe_b64decode(token[4:] + "=" * (-len(token[4:]) % 4))
        assert len(octets) == 32 and name not in self.canaries, name
        self.canaries[name] = Canary(name, token.encode(), octets)
        return token

    def add_key(self, name, key):
        """The private members of a JWK."""
        for member in ("d", "p", "q", "dp", "dq", "qi", "k"):
            if member in key:
                self.add_encoded(f"{name}: {member}", key[member])
        return key

    # ---- where ----

    def search_in(self, place, content):
        """A place may have several pieces of content."""
        content = content.encode() if isinstance(content, str) else content or b""
        self.places.setdefault(place, []).append(content)

    def search_files(self, place, directory):
        for path in sorted(directory.rglob("*")):
            if path.is_file() and not path.is_symlink():
                self.search_in(f"{place} {path.relative_to(directory)}", path.read_bytes())

    # ---- the hunt ----

    def needles(self):
        """{needle: [(canary, form)]}"""
        found = {}
        for canary in self.canaries.values():
            for form, needles in canary.needles().items():
                for needle in needles:
                    line = lines_of(needle)
                    if len(line) >= LEAST:
                        found.setdefault(line, set()).add((canary.name, form))
        return found

    def hunt(self):
        """Every sighting, in every place."""
        needles, sightings = self.needles(), set()
        pattern_file, content_file = self.directory / "needles", self.directory / "content"
        pattern_file.write_bytes(b"".join(needle + b"\n" for needle in needles))
        self.squeezed_bytes = 0
        bounds, offset = [], 0  # where each place begins in one file of all of them
        with open(content_file, "wb") as file:
            for place, contents in self.places.items():
                bounds.append((offset, place))
                for content in contents:
                    plain = squeezed(content)
                    self.squeezed_bytes += len(plain)
                    offset += file.write(content + b"\n" + plain + b"\n")
        done = subprocess.run(["grep", "--text", "--fixed-strings", "--only-matching", "--byte-offset", "-f", pattern_file, content_file],
                              capture_output=True, check=False, env={"LC_ALL": "C"})
        assert done.returncode in (0, 1), done.stderr
        for line in done.stdout.split(b"\n")[:-1]:
            at, _, match = line.partition(b":")
            place = [name for begin, name in bounds if begin <= int(at)][-1]
            # grep tells the longest of those that begin there; the others are in it.
            for needle in needles if match not in needles else (match,):
                if needle in match:
                    sightings |= {Sighting(name, form, place) for name, form in needles[needle]}
        return sightings

    def report(self):
        needles = self.needles()
        contents = [content for contents in self.places.values() for content in contents]
        return (f"{len(self.canaries)} canaries in {len(FORMS)} families of forms ({len(needles)} needles) in {len(self.places)} places: "
                f"{len(contents)} contents, {sum(map(len, contents))} bytes and {self.squeezed_bytes} without what wraps text")
