"""An HTTP server on loopback that answers as S3 does, with the answers that no real server gives on demand.

It checks no signatures; rclone is there for that.
"""

import hashlib
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, quote_plus, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000


@dataclass(frozen=True)
class Refusal:
    """An answer of S3 that is an error."""

    status: int
    code: str


@dataclass
class ScriptedS3:
    """One bucket, `shop`.

    `refusals` are given in place of the next answers; `denied` are keys that always get one. `headers` are
    sent with an object beside, or in place of, the usual ones. `drip_s` is the pause after each byte of an
    answer, its headers included. `asked` are the paths of all requests.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str | None]] = field(default_factory=dict)
    refusals: deque[Refusal] = field(default_factory=deque)
    denied: dict[str, Refusal] = field(default_factory=dict)
    page: str | None = None
    drip_s: float = 0
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""

    def reset(self) -> None:
        """An empty bucket, and nothing that is out of the ordinary."""
        for name, value in vars(ScriptedS3(endpoint=self.endpoint)).items():
            setattr(self, name, value)

    def environment(self) -> dict[str, str]:
        """The variables by which boto3 finds this server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIDTEST",
            "AWS_SECRET_ACCESS_KEY": "geheim",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def scripted_s3() -> Iterator[ScriptedS3]:
    """Runs the server."""
    script = ScriptedS3()

    class Handler(_Handler):
        server_script = script

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        script.endpoint = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield script
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_script: ScriptedS3

    def do_GET(self) -> None:
        script = self.server_script
        script.asked.append(self.path)
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path.removeprefix("/")).partition("/")
        if script.refusals:
            self._refuse(script.refusals.popleft())
        elif bucket != "shop":
            self._refuse(Refusal(404, "NoSuchBucket"))
        elif not key:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            page = script.page or self._page(query)
            self._send(200, page.encode(), {"Content-Type": "application/xml"})
        elif key in script.denied:
            self._refuse(script.denied[key])
        elif key not in script.objects:
            self._refuse(Refusal(404, "NoSuchKey"))
        else:
            body = script.objects[key]
            own = {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "Content-Length": str(len(body))}
            self._send(200, body, own | script.headers.get(key, {}))

    def _page(self, query: dict[str, str]) -> str:
        keys = sorted(self.server_script.objects, key=str.encode)
        after = query.get("continuation-token", "")
        keys = [key for key in keys if key.startswith(query.get("prefix", "")) and key > after]
        page = keys[: min(PAGE, int(query.get("max-keys", PAGE)))]
        cut = len(page) < len(keys)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if cut else ""
        entries = "".join(
            f"<Contents><Key>{quote_plus(key)}</Key><Size>{len(data)}</Size>"
            f"<ETag>&quot;{hashlib.md5(data).hexdigest()}&quot;</ETag></Contents>"
            for key, data in ((key, self.server_script.objects[key]) for key in page)
        )
        return (
            f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{str(cut).lower()}"
            f"</IsTruncated>{token}{entries}</ListBucketResult>"
        )

    def _refuse(self, refusal: Refusal) -> None:
        body = f"<Error><Code>{refusal.code}</Code><Message>no</Message></Error>" if refusal.code else ""
        self._send(refusal.status, body.encode(), {"Content-Type": "application/xml"})

    def _send(self, status: int, body: bytes, headers: dict[str, str | None] | dict[str, str]) -> None:
        fields = {"Content-Length": str(len(body))} | headers
        lines = [
            f"HTTP/1.1 {status} Scripted",
            *(f"{name}: {value}" for name, value in fields.items() if value),
        ]
        answer = "\r\n".join([*lines, "", ""]).encode() + body
        step = 1 if self.server_script.drip_s else len(answer)
        try:
            for at in range(0, len(answer), step):
                self.wfile.write(answer[at : at + step])
                time.sleep(self.server_script.drip_s)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is told."""
