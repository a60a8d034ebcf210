"""A mail server for the tests: it takes mail by aiosmtpd, and tells what it took as lines of JSON on its standard output.

Its only argument is an object: "port" (0 for a free one), "tls" ("none", "starttls" or "tls"), "certificate" and "key"
(files), "login" (a list of the user and the password) and "answers", one for each mail that is offered: "ok", or
"rcpt 550 …" or "data 451 …" for what is answered there. When they are used up, every mail is taken. In an answer, LINK
stands for the first link of the mail.
"""

import asyncio
import email.policy
import json
import re
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

SETUP = json.loads(sys.argv[1])
ANSWERS = list(SETUP.get("answers", []))


def tell(**what):
    print(json.dumps(what), flush=True)


def parsed(content):
    message = email.message_from_bytes(content, policy=email.policy.default)
    parts = [[part.get_content_type(), part.get_content()] for part in message.walk() if not part.is_multipart()]
    return {"headers": [[name, str(value)] for name, value in message.items()], "parts": parts}


class Handler:
    def __init__(self):
        self.present = "ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        self.present = ANSWERS.pop(0) if ANSWERS else "ok"
        stage, _, answer = self.present.partition(" ")
        if stage == "rcpt":
            tell(event="refused", answer=answer)
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = parsed(envelope.content)
        stage, _, answer = self.present.partition(" ")
        if stage == "data":
            links = re.findall(r"https?://\S+", message["parts"][0][1])
            tell(event="refused", answer=answer, message=message)
            return answer.replace("LINK", links[0] if links else "")
        tell(
            event="mail",
            protected=session.ssl is not None or SETUP["tls"] == "tls",
            login=session.auth_data,
            hello=session.host_name,
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            message=message,
        )
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    given = [data.login.decode(), data.password.decode()]
    tell(event="login", accepted=given == SETUP["login"])
    # The server is left to say so itself.
    return AuthResult(success=given == SETUP["login"], handled=False, auth_data=given[0])


async def main():
    context = None
    if SETUP["tls"] != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(SETUP["certificate"], SETUP["key"])
    starttls = SETUP["tls"] == "starttls"
    login = SETUP.get("login")

    def session():
        tell(event="connection")
        return SMTP(
            Handler(),
            hostname="mail.example.com",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            authenticator=authenticate if login else None,
            auth_required=bool(login),
            auth_require_tls=starttls,
        )

    wrapped = context if SETUP["tls"] == "tls" else None
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", SETUP["port"], ssl=wrapped)
    tell(event="listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
