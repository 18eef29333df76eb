"""Passwords and tokens of a site, made at random, and what broker and coordinator keep of them: digests.

Who has which belongs to `broker.site_record`.
"""

import base64
import hashlib
import secrets

SECRET_BYTES = 32
SALT_BYTES = 12  # as mosquitto_passwd makes it
# Mosquitto's own count. Stretching protects what people think up; 32 random bytes cannot be guessed without it either,
# and the broker reckons it anew for every client whenever it reloads.
ITERATIONS = 101


def new_secret() -> str:
    """A fresh password or token: 32 random bytes as 43 letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(SECRET_BYTES)


def password_digest(password: str, salt: bytes | None = None) -> str:
    """What Mosquitto keeps of a password: `$7$`, PBKDF2 over SHA-512 with its salt."""
    salted = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salted, ITERATIONS)
    return f"$7${ITERATIONS}${base64.b64encode(salted).decode()}${base64.b64encode(digest).decode()}"


def token_digest(token: str) -> str:
    """What the coordinator keeps of a token: its sha256 in hexadecimal; a random one needs no salt."""
    return hashlib.sha256(token.encode()).hexdigest()
