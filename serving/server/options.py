"""The options of a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from serving.server.base_path import local_path
from serving.server.security import is_loopback

_LocalPath = Annotated[Path | None, BeforeValidator(lambda v: v if v is None else local_path(v))]


class ServerOptions(BaseModel):
    """Options of a server. TensorFlow Serving's flags keep their names. The default is loopback."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    host: str = Field(
        "127.0.0.1",
        description="address to listen on; other than loopback it needs --token-env or "
        "--tls-certificate",
    )
    port: int = Field(8500, ge=0, le=65535, description="gRPC port; 0 picks a free one")
    rest_api_port: int = Field(8501, ge=0, le=65535, description="REST port; 0 picks a free one")
    rest_api_timeout_in_ms: int = Field(
        30_000, description="deadline of a REST request that sends none; 0 for none"
    )
    rest_api_enable_cors_support: bool = Field(
        False, description="lets pages of any site read REST answers"
    )
    port_file: Path | None = Field(
        None, description="JSON file to write the ports to, once the server answers"
    )

    model_name: str = Field("default", description="name of the model in model_base_path")
    model_base_path: _LocalPath = Field(None, description="folder of the versions of model_name")
    model_config_file: _LocalPath = Field(
        None,
        description="config file of TensorFlow Serving; replaces model_name and model_base_path",
    )
    model_config_file_poll_wait_seconds: int = Field(
        0, ge=0, description="interval of reading model_config_file; 0 to read it only once"
    )
    file_system_poll_wait_seconds: int = Field(
        1, ge=0, description="interval of looking for new versions; 0 to look only once"
    )
    poll_seconds: float | None = Field(
        None, gt=0, description="interval of both if they are not given; may be a fraction"
    )

    batching: bool = Field(True, description="computes concurrent requests together")
    max_batch_rows: int = Field(1024, ge=1, description="maximum rows of a batch")
    batch_threads: int = Field(2, ge=1, description="batches computed at the same time")
    batch_wait_us: int = Field(
        0, ge=0, description="time a batch waits for more requests, in microseconds"
    )
    queue: int = Field(
        64, ge=1, description="requests that are computed or wait; further ones are rejected"
    )
    connections: int = Field(
        1024, ge=8, description="open connections of REST and gRPC each; limited by ulimit -n"
    )
    max_request_bytes: int = Field(
        256 << 20, ge=1024, le=(1 << 31) - 1, description="maximum size of a request"
    )
    grace_seconds: float = Field(
        10.0, ge=0, description="time for running requests when the server stops"
    )

    token_env: str | None = Field(
        None, description="environment variable with the bearer token of predictions"
    )
    admin_token_env: str | None = Field(
        None, description="environment variable with another token, for changes of what is served"
    )
    admin_socket: Path | None = Field(
        None, description="Unix socket for such changes; only this user can open it"
    )
    model_root: tuple[Path, ...] = Field(
        (), description="folder of models that a client's config may name; may be repeated"
    )
    tls_certificate: Path | None = Field(None, description="PEM file of the certificate")
    tls_key: Path | None = Field(None, description="PEM file of the private key")

    request_log: Path | None = Field(None, description="folder in which to log predictions")
    request_log_rate: float = Field(1.0, ge=0, le=1, description="share of requests to log")
    request_log_key: tuple[str, ...] = Field(
        (), description="feature whose values are logged as plain text; may be repeated"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe level that is logged"
    )

    @model_validator(mode="after")
    def _complete(self) -> ServerOptions:
        if self.model_base_path is None and self.model_config_file is None:
            raise ValueError("give model_name and model_base_path, or model_config_file")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key must be given together")
        if not is_loopback(self.host):
            if self.token_env is None and self.tls_certificate is None:
                raise ValueError(
                    f"other machines can reach {self.host}: give --token-env, or "
                    "--tls-certificate and --tls-key, or both"
                )
            if self.admin_token_env is not None and self.tls_certificate is None:
                raise ValueError(
                    f"other machines can reach {self.host}: --admin-token-env needs "
                    "--tls-certificate and --tls-key. Or give --admin-socket instead"
                )
        if self.model_root and self.admin_socket is None and self.admin_token_env is None:
            raise ValueError(
                "--model-root restricts the configs of administrators: it needs --admin-socket or "
                "--admin-token-env"
            )
        return self

    @property
    def folder_seconds(self) -> float:
        """Returns the interval of looking for new versions; 0 to look only once."""
        return self._seconds("file_system_poll_wait_seconds")

    @property
    def config_seconds(self) -> float:
        """Returns the interval of reading the config; 0 to read it only once.

        A models.config in the folder of the versions is read whenever that folder is listed.
        """
        if self.model_config_file is None:
            return self.folder_seconds
        return self._seconds("model_config_file_poll_wait_seconds")

    def _seconds(self, name: str) -> float:
        """Returns the value of TensorFlow Serving's flag, else poll_seconds, else the default."""
        if name in self.model_fields_set or self.poll_seconds is None:
            return float(getattr(self, name))
        return self.poll_seconds
