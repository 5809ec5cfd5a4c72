"""What a server is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from serving.server.base_path import local_path
from serving.server.security import is_loopback

_LocalPath = Annotated[Path | None, BeforeValidator(lambda v: v if v is None else local_path(v))]


class ServerOptions(BaseModel):
    """Loopback and no secrets by default; names as TensorFlow Serving's flags where it has them."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    host: str = Field(
        "127.0.0.1", description="anything but loopback needs --token-env, or --tls-certificate"
    )
    port: int = Field(8500, ge=0, le=65535, description="of gRPC; 0 picks a free one")
    rest_api_port: int = Field(8501, ge=0, le=65535, description="0 picks a free one")
    rest_api_timeout_in_ms: int = Field(
        30_000, description="deadline of a REST request that names none; 0 for none"
    )
    rest_api_enable_cors_support: bool = Field(
        False, description="lets pages of any site read REST answers"
    )
    port_file: Path | None = Field(None, description="JSON with the ports, once they answer")

    model_name: str = "default"
    model_base_path: _LocalPath = Field(None, description="folder of the versions of model_name")
    model_config_file: _LocalPath = Field(
        None,
        description="TensorFlow Serving's file; model_name and model_base_path are ignored then",
    )
    model_config_file_poll_wait_seconds: int = Field(
        0, ge=0, description="between two looks at model_config_file; 0 to look once, at the start"
    )
    file_system_poll_wait_seconds: int = Field(
        1, ge=0, description="between two looks at the folders of versions; 0 to look once"
    )
    poll_seconds: float | None = Field(
        None, gt=0, description="where neither is given: between two looks at files and folders"
    )

    batching: bool = True
    max_batch_rows: int = Field(1024, ge=1, description="candidates computed together")
    batch_threads: int = Field(2, ge=1, description="batches computed at the same time")
    batch_wait_us: int = Field(0, ge=0, description="how long a batch waits for company")
    queue: int = Field(64, ge=1, description="requests that are computed or wait; more are refused")
    connections: int = Field(
        1024, ge=8, description="open at the same time, REST and gRPC each; fewer by ulimit -n"
    )
    max_request_bytes: int = Field(
        256 << 20, ge=1024, le=(1 << 31) - 1, description="of one request; larger ones are refused"
    )
    grace_seconds: float = Field(10.0, ge=0, description="for running requests, when it is stopped")

    token_env: str | None = Field(
        None, description="variable that holds the bearer token of predictions"
    )
    admin_token_env: str | None = Field(
        None, description="variable that holds another token, to change what is served by gRPC"
    )
    admin_socket: Path | None = Field(
        None, description="Unix socket for the same; only this user can open it"
    )
    model_root: tuple[Path, ...] = Field(
        (), description="where a client's config may have models; default: where they are"
    )
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    request_log: Path | None = Field(None, description="folder; predictions are logged there")
    request_log_rate: float = Field(1.0, ge=0, le=1, description="share of the requests")
    request_log_user: str = Field("user_id", description="feature that names the user")
    request_log_item: str = Field("item_id", description="feature that names a candidate")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _complete(self) -> ServerOptions:
        if self.model_base_path is None and self.model_config_file is None:
            raise ValueError("give model_name and model_base_path, or model_config_file")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if not is_loopback(self.host):
            if self.token_env is None and self.tls_certificate is None:
                raise ValueError(
                    f"{self.host} is reached by others: give --token-env, or --tls-certificate and "
                    "--tls-key, or both"
                )
            if self.admin_token_env is not None and self.tls_certificate is None:
                raise ValueError(
                    f"{self.host} is reached by others: --admin-token-env needs --tls-certificate "
                    "and --tls-key; or give --admin-socket instead"
                )
        if self.model_root and self.admin_socket is None and self.admin_token_env is None:
            raise ValueError(
                "--model-root is for what an administrator sends: it needs --admin-socket or "
                "--admin-token-env"
            )
        return self

    @property
    def folder_seconds(self) -> float:
        """Between two looks at the folders of versions; 0 to look once."""
        return self._seconds("file_system_poll_wait_seconds")

    @property
    def config_seconds(self) -> float:
        """Between two looks at the config; 0 to look once.

        A models.config in the folder of the versions is looked at whenever that folder is.
        """
        if self.model_config_file is None:
            return self.folder_seconds
        return self._seconds("model_config_file_poll_wait_seconds")

    def _seconds(self, name: str) -> float:
        """What is given by TensorFlow Serving's flag, else by poll_seconds, else the default."""
        if name in self.model_fields_set or self.poll_seconds is None:
            return float(getattr(self, name))
        return self.poll_seconds
