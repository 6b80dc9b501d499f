"""A stand-in for a DANDI server, in a process of its own: the API on one port of 127.0.0.1, its blob store ("S3") on another.

    python tests/dandi_server.py WORLD.json      prints the two ports as JSON and serves until it is killed

In the test's own process a server thread deadlocks with h5py (a finaliser waits for HDF5's lock, its holder for the server). The
world (`tests/dandi_world.py` writes it) says what there is; POST /control sets latency and faults, GET /control tells what was asked.
"""

import hashlib
import json
import re
import sys
import threading
import time
import uuid
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

NOW = "2024-01-01T00:00:00+00:00"
PIECE = 1 << 20


class World:
    """What there is, what goes wrong, and what was asked."""

    def __init__(self, path: Path):
        self.__dict__ |= {"token": "", "dandisets": {}, **json.loads(path.read_text())}
        self.folder, self.lock = path.parent, threading.Lock()
        self.latency, self.bandwidth, self.page_size, self.signature = 0.0, 0.0, 100, "SIGNED-1"
        self.faults, self.log, self.uploads = [], [], {}

    def control(self, new: dict) -> None:
        with self.lock:
            if new.pop("clear", False):
                self.log, self.faults = [], []
            self.__dict__ |= new

    def fault(self, role: str, target: str) -> dict:
        """The first fault that fits and is not used up."""
        with self.lock:
            for fault in self.faults:
                if fault.get("times", 1) > 0 and fault.get("role", role) == role and re.search(fault["match"], target):
                    fault["times"] = fault.get("times", 1) - 1
                    return fault
        return {}

    def versions(self, dandiset: str) -> dict | None:
        return self.dandisets.get(dandiset, {}).get("versions")

    def assets(self) -> dict:
        return {a["asset_id"]: a for d in self.dandisets.values() for assets in d["versions"].values() for a in assets}

    def blob(self, name: str) -> dict | None:
        return next((a for a in self.assets().values() if a["blob"] == name), None)

    def embargoed(self, dandiset: str) -> bool:
        return self.dandisets.get(dandiset, {}).get("embargo", False)

    def dandiset_of(self, asset_id: str) -> str:
        return next(d for d, v in self.dandisets.items() for assets in v["versions"].values() for a in assets if a["asset_id"] == asset_id)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def answer(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        self.body, self.sent, self.status = self.rfile.read(length), 0, 0
        if url.path == "/control":
            return self.control()
        world, role = self.server.world, self.server.role
        entry = dict(role=role, method=self.command, path=url.path, query=url.query, range=self.headers.get("Range"),
                     authorization=self.headers.get("Authorization"), sent=0, status=0)  # fmt: skip
        with world.lock:
            world.log.append(entry)
        fault = world.fault(role, self.path)
        time.sleep(world.latency + fault.get("sleep", 0))
        try:
            if "status" in fault:
                extra = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
                return self.reply(b"out of order", fault["status"], extra)
            self.fault = fault
            (self.api if role == "api" else self.store)(url.path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            entry |= dict(sent=self.sent, status=self.status)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def control(self) -> None:
        if self.command == "POST":
            self.server.world.control(json.loads(self.body))
        self.json(self.server.world.log)

    def reply(self, body: bytes, status: int = 200, headers: dict | None = None) -> None:
        self.status = status
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.sent += len(body)
        self.wfile.flush()

    def json(self, value, status: int = 200) -> None:
        self.reply(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def missing(self) -> None:
        self.json({"detail": "Not found."}, 404)

    # The API ------------------------------------------------------------------------------------------------

    def api(self, path: str) -> None:
        world, parts = self.server.world, path.strip("/").split("/")
        given = self.headers.get("Authorization")
        self.known = given == f"token {world.token}"
        if path.startswith("/server-info") or parts[0] != "api":
            return self.missing()
        parts = parts[1:]
        if parts == ["info"]:
            return self.info()
        if given and not self.known or parts == ["auth", "token"] and not self.known:
            return self.json({"detail": "Invalid token."}, 401)
        if parts == ["auth", "token"]:
            return self.json({"token": world.token})
        if parts[0] == "uploads":
            return self.upload(parts[1:])
        if parts[0] == "zarr" and len(parts) >= 2:
            return self.zarr(parts[1], parts[2:])
        if parts[0] == "assets" and len(parts) >= 2:
            return self.asset(world.assets().get(parts[1]), parts[2:])
        if parts[0] == "dandisets" and len(parts) >= 2 and world.versions(parts[1]) is not None:
            if world.dandisets[parts[1]].get("forbidden"):
                return self.json({"detail": "You do not have permission to perform this action."}, 403)
            if world.embargoed(parts[1]) and not self.known:
                return self.json({"detail": "Authentication credentials were not provided."}, 401)
            return self.dandiset(parts[1], parts[2:])
        self.missing()

    def info(self) -> None:
        world = self.server.world
        self.json({"version": "0.14.0", "schema_version": world.schema_version, "schema_url": "", "cli-minimal-version": "0.60.0",
                   "cli-bad-versions": [], "services": {"api": {"url": f"{world.api_url}/api"}, "webui": None}})  # fmt: skip

    def dandiset(self, identifier: str, rest: list) -> None:
        world = self.server.world
        versions = world.versions(identifier)
        if not rest:
            published = sorted(name for name in versions if name != "draft")
            about = dict(identifier=identifier, created=NOW, modified=NOW, contact_person="Doe, Jane",
                         embargo_status="EMBARGOED" if world.embargoed(identifier) else "OPEN",
                         draft_version=self.version("draft", versions),
                         most_recent_published_version=self.version(published[-1], versions) if published else None)  # fmt: skip
            return self.json(about)
        if rest == ["versions"]:
            return self.page([self.version(name, versions) for name in sorted(versions)])
        if rest[0] != "versions" or rest[1] not in versions:
            return self.missing()
        assets, rest = versions[rest[1]], [rest[1], *rest[2:]]
        if rest[1:] == ["info"]:
            return self.json(dict(self.version(rest[0], versions), asset_validation_errors=[], version_validation_errors=[]))
        if rest[1:] == ["assets"] and self.command == "POST":
            return self.new_asset(assets)
        if rest[1:] == ["assets"]:
            chosen = [a for a in assets if a["path"].startswith(self.query.get("path", ""))
                      and fnmatchcase(a["path"], self.query.get("glob") or "*")]  # fmt: skip
            return self.page([self.item(a, "metadata" in self.query) for a in chosen])
        if len(rest) > 2 and rest[1] == "assets":
            asset = next((a for a in assets if a["asset_id"] == rest[2]), None)
            return self.replace(asset) if self.command == "PUT" and asset else self.asset(asset, rest[3:])
        self.json(world.dandisets[identifier].get("metadata", {}) | {"identifier": f"DANDI:{identifier}", "version": rest[0]})

    def version(self, name: str, versions: dict) -> dict:
        assets = versions.get(name, [])
        return dict(version=name, name="a dandiset", asset_count=len(assets), size=sum(a["size"] for a in assets), created=NOW,
                    modified=NOW, status="Valid" if name == "draft" else "Published")  # fmt: skip

    def page(self, items: list) -> None:
        size, page = int(self.query.get("page_size") or self.server.world.page_size), int(self.query.get("page") or 1)
        query = {name: value for name, value in self.query.items() if name != "page"} | {"page": page + 1}
        url = f"{self.server.world.api_url}{urlsplit(self.path).path}?{urlencode(query)}"
        more = page * size < len(items)
        self.json(dict(count=len(items), next=url if more else None, previous=None, results=items[(page - 1) * size : page * size]))

    def item(self, asset: dict, with_metadata: bool) -> dict:
        shown = {name: asset[name] for name in ("asset_id", "blob", "path", "size")}
        shown |= dict(zarr=asset.get("zarr"), created=NOW, modified=NOW)
        return shown | {"metadata": self.metadata(asset)} if with_metadata else shown

    def metadata(self, asset: dict) -> dict:
        world = self.server.world
        place = f"zarr/{asset['zarr']}/" if asset.get("zarr") else f"blobs/{asset['blob']}"
        urls = [f"{world.api_url}/api/assets/{asset['asset_id']}/download/", f"{world.store_url}/{place}"]
        return dict(asset["metadata"], contentUrl=urls)

    def asset(self, asset: dict | None, rest: list) -> None:
        world = self.server.world
        if asset is None:
            return self.missing()
        private = world.embargoed(world.dandiset_of(asset["asset_id"]))
        if private and not self.known:
            return self.json({"detail": "Authentication credentials were not provided."}, 401)
        if rest == ["download"]:
            signed = f"?X-Amz-Signature={world.signature}&X-Amz-Expires=3600" if private else ""
            return self.reply(b"", 302, {"Location": f"{world.store_url}/blobs/{asset['blob']}{signed}"})
        self.json(self.item(asset, True) if rest == ["info"] else self.metadata(asset))

    def zarr(self, name: str, rest: list) -> None:
        """The files of a Zarr store below a prefix, in the order of their keys and after a key; or the way to one of them."""
        world = self.server.world
        asset = next((a for a in world.assets().values() if a.get("zarr") == name), None)
        if asset is None:
            return self.missing()
        private = world.embargoed(world.dandiset_of(asset["asset_id"]))
        if private and not self.known:
            return self.json({"detail": "Authentication credentials were not provided."}, 401)
        prefix, after = self.query.get("prefix", ""), self.query.get("after", "")
        if self.query.get("download"):
            signed = f"?X-Amz-Signature={world.signature}" if private else ""
            return self.reply(b"", 302, {"Location": f"{world.store_url}/zarr/{name}/{prefix}{signed}"})
        if rest != ["files"]:
            return self.json(dict(zarr_id=name, status="Complete", checksum=asset["metadata"]["digest"]["dandi:dandi-zarr-checksum"]))
        folder = Path(asset["file"])
        keys = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        keys = [key for key in keys if key.startswith(prefix) and key > after]
        shown = keys[: world.page_size]
        query = urlencode({name: value for name, value in self.query.items() if name != "after"} | {"after": shown[-1] if shown else ""})
        url = f"{world.api_url}/api/zarr/{name}/files/?{query}"
        self.json(dict(next=url if len(keys) > len(shown) else None, results=[self.zarr_file(folder, key) for key in shown]))

    def zarr_file(self, folder: Path, key: str) -> dict:
        content = (folder / key).read_bytes()
        return dict(Key=key, LastModified=NOW, ETag=hashlib.md5(content).hexdigest(), Size=len(content))

    def new_asset(self, assets: list) -> None:
        new = json.loads(self.body)
        blob = self.server.world.uploads[new["blob_id"]]
        made = dict(asset_id=str(uuid.uuid4()), blob=new["blob_id"], path=new["metadata"]["path"], size=blob["size"], file=blob["file"],
                    metadata=new["metadata"])  # fmt: skip
        assets.append(made)
        self.json(self.item(made, True))

    def replace(self, asset: dict) -> None:
        new = json.loads(self.body)
        blob = self.server.world.uploads[new["blob_id"]]
        asset |= dict(blob=new["blob_id"], metadata=new["metadata"], size=blob["size"], file=blob["file"])
        self.json(self.item(asset, True))

    def upload(self, rest: list) -> None:
        """The four steps of an upload; everybody who uploads needs the token."""
        world = self.server.world
        if not self.known:
            return self.json({"detail": "Authentication credentials were not provided."}, 401)
        if rest == ["initialize"]:
            wanted, name = json.loads(self.body), str(uuid.uuid4())
            world.uploads[name] = dict(size=wanted["contentSize"], digest=wanted["digest"]["value"], file=str(world.folder / name))
            part = dict(part_number=1, size=wanted["contentSize"], upload_url=f"{world.store_url}/upload/{name}")
            return self.json(dict(upload_id=name, parts=[part]))
        if rest[1:] == ["complete"]:
            return self.json(dict(complete_url=f"{world.store_url}/complete/{rest[0]}", body="<done/>"))
        self.json(dict(blob_id=rest[0]))

    # The blob store -----------------------------------------------------------------------------------------

    def store(self, path: str) -> None:
        world = self.server.world
        if path.startswith("/upload/"):
            Path(world.uploads[path.split("/")[2]]["file"]).write_bytes(self.body)
            return self.reply(b"", 200, {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})
        if path.startswith("/complete/"):
            return self.reply(f"<R><ETag>{world.uploads[path.split('/')[2]]['digest']}</ETag></R>".encode())
        if path.startswith("/files/"):  # a plain web server, of no archive
            return self.plain(path.removeprefix("/files/"))
        zarr, _, inside = unquote(path).removeprefix("/zarr/").partition("/")
        asset = next((a for a in world.assets().values() if a.get("zarr") == zarr), None) if inside else None
        asset = asset and dict(asset, file=str(Path(asset["file"]) / inside))
        asset = asset or world.blob(path.removeprefix("/blobs/"))
        if asset is None or not asset.get("file"):
            return self.reply(b"NoSuchKey", 404)
        if world.embargoed(world.dandiset_of(asset["asset_id"])) and self.query.get("X-Amz-Signature") != world.signature:
            return self.reply(b"AccessDenied", 403)
        self.serve(Path(asset["file"]))

    def plain(self, name: str) -> None:
        """Files of the world's folder `www`; below `whole/` no ranges, below `secret/` only with the right `sig`."""
        ranges, secret = not name.startswith("whole/"), name.startswith("secret/")
        path = self.server.world.folder / "www" / name.rsplit("/", 1)[-1]
        if secret and self.query.get("sig") != self.server.world.signature:
            return self.reply(b"no", 403)
        if not path.is_file():
            return self.reply(b"<html>nothing here</html>", 404, {"Content-Type": "text/html"})
        self.serve(path, ranges)

    def serve(self, path: Path, ranges: bool = True) -> None:
        size = path.stat().st_size
        wanted = self.headers.get("Range") if ranges else None
        first, last, partial = 0, size - 1, re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
        if partial:
            first, last = int(partial[1]), min(int(partial[2] or size - 1), size - 1)
            if first >= size:
                return self.reply(b"", 416, {"Content-Range": f"bytes */{size}"})
        self.status = 206 if partial else 200
        self.send_response(self.status)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns:x}"')
        self.send_header("Content-Type", "text/html" if path.suffix == ".html" else "application/octet-stream")
        if ranges:
            self.send_header("Accept-Ranges", "bytes")
        if partial:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if self.command != "HEAD":
            self.stream(path, first, last + 1)
        self.wfile.flush()

    def stream(self, path: Path, first: int, stop: int) -> None:
        drop = self.fault.get("drop_after")
        with open(path, "rb") as file:
            file.seek(first)
            while first < stop:
                piece = file.read(min(PIECE, stop - first))
                if self.fault.get("corrupt"):
                    piece = bytes(len(piece))
                if drop is not None and self.sent + len(piece) > drop:
                    self.wfile.write(piece[: drop - self.sent])
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                self.wfile.write(piece)
                self.sent, first = self.sent + len(piece), first + len(piece)
                if self.server.world.bandwidth:
                    time.sleep(len(piece) / self.server.world.bandwidth)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # a killed client
            pass

    def log_message(self, *args) -> None:
        pass


def main(path: str) -> None:
    world = World(Path(path))
    servers = []
    for role in ("api", "store"):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads, server.world, server.role = True, world, role
        setattr(world, f"{role}_url", f"http://127.0.0.1:{server.server_address[1]}")
        servers.append(server)
    print(json.dumps(dict(api=world.api_url, store=world.store_url)), flush=True)
    threading.Thread(target=servers[1].serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
