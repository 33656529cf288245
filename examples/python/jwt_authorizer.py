"""A custom authorizer for JSON Web Tokens (HS256): the whole Lambda function, with nothing to install.

The token travels as the password, or, for a client that has none, as the parameter "token" of the user name.

    aws iot create-authorizer --authorizer-name JwtAuthorizer --status ACTIVE --signing-disabled \
      --token-key-name token --authorizer-function-arn <ARN of this function>

In the function's environment: JWT_SECRET, at least 32 bytes; JWT_ISSUER and JWT_AUDIENCE if the tokens name
them. For RS256 and the like take a library, such as PyJWT; ../jwt-authorizer.mjs does them in JavaScript.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import time

SECRET = os.environ.get("JWT_SECRET", "").encode()
ISSUER = os.environ.get("JWT_ISSUER")
AUDIENCE = os.environ.get("JWT_AUDIENCE")

if len(SECRET) < 32:
    raise RuntimeError("set JWT_SECRET to at least 32 bytes")


def handler(event, context):
    mqtt = event["protocolData"].get("mqtt", {})
    try:
        token = event.get("token") or base64.b64decode(mqtt.get("password", "")).decode()
        claims = verify(token, time.time())
    except ValueError as error:
        print(f"token refused: {error}")  # never the token itself
        return {"isAuthenticated": False}

    device = claims["sub"]
    return {
        "isAuthenticated": True,
        "principalId": re.sub("[^a-zA-Z0-9]", "", device),  # letters and digits only
        # IoT Core ends the connection with the token; both numbers must be 300 to 86400.
        "disconnectAfterInSeconds": min(max(int(claims["exp"] - time.time()), 300), 86_400),
        "refreshAfterInSeconds": 300,
        "policyDocuments": [policy_for(device, context.invoked_function_arn)],
    }


def verify(token, now):
    """The claims of a token that holds; raises ValueError for any other."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("it is no JSON Web Token")
    header, claims = decode(parts[0]), decode(parts[1])
    # Never what the token says: that would let its bearer choose.
    if header.get("alg") != "HS256" or "crit" in header:
        raise ValueError("its algorithm is not HS256")
    expected = hmac.new(SECRET, f"{parts[0]}.{parts[1]}".encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(expected, from_base64url(parts[2])):
        raise ValueError("its signature does not match")

    if not is_time(claims.get("exp")) or claims["exp"] <= now:
        raise ValueError("it has expired, or has no exp")
    if "nbf" in claims and not (is_time(claims["nbf"]) and claims["nbf"] <= now):
        raise ValueError("it is not valid yet")
    if ISSUER and claims.get("iss") != ISSUER:
        raise ValueError("it is of another issuer")
    audience = claims.get("aud")
    if AUDIENCE and AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
        raise ValueError("it is for another audience")
    # The subject becomes a part of the policy, where "*" and "?" would be wildcards.
    subject = claims.get("sub")
    if not isinstance(subject, str) or not re.fullmatch("[a-zA-Z0-9_-]{1,128}", subject):
        raise ValueError("its subject is no name of a device")
    if not re.search("[a-zA-Z0-9]", subject):
        raise ValueError("its subject has no letter or digit")
    return claims


def policy_for(device, function_arn):
    """Least privilege: its own client id, and nothing but the topics below devices/<device>/."""
    _, partition, _, region, account = function_arn.split(":")[:5]

    def arn(resource):
        return f"arn:{partition}:iot:{region}:{account}:{resource}"

    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": arn(f"client/{device}")},
            {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": arn(f"topicfilter/devices/{device}/*")},
            {
                "Effect": "Allow",
                "Action": ["iot:Publish", "iot:RetainPublish", "iot:Receive"],
                "Resource": arn(f"topic/devices/{device}/*"),
            },
        ],
    }


def decode(part):
    value = json.loads(from_base64url(part))
    if not isinstance(value, dict):
        raise ValueError("a part of it is no JSON object")
    return value


def from_base64url(text):
    if not re.fullmatch("[a-zA-Z0-9_-]*", text):
        raise ValueError("a part of it is not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def is_time(value):
    """A whole or broken number of seconds; NaN and infinity, which Python's JSON reads, are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
